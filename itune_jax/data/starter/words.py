"""The vocabulary that the starter generators draw from."""

NAMES = ("Ana", "Ben", "Carla", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kenji", "Lena", "Marco",
         "Nadia", "Omar", "Priya", "Quinn", "Rosa", "Stefan", "Tara", "Umar", "Vera", "Wei", "Yara", "Zoe")
CITIES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Kyoto", "Boston", "Cairo", "Dublin", "Hanoi", "Vienna", "Quito", "Perth",
          "Zurich", "Delhi", "Porto", "Seoul", "Tunis", "Accra", "Riga", "Bergen")
FRUITS = ("apple", "banana", "cherry", "grape", "lemon", "mango", "orange", "peach", "pear", "plum", "melon", "fig", "kiwi", "lime")
ANIMALS = ("cat", "dog", "horse", "rabbit", "tiger", "zebra", "eagle", "otter", "whale", "camel", "goat", "lion", "mouse", "sheep")
THINGS = ("book", "lamp", "chair", "table", "pencil", "bottle", "mirror", "basket", "ladder", "blanket", "clock", "hammer", "kettle", "ribbon")
COLOURS = ("red", "blue", "green", "yellow", "purple", "black", "white", "brown", "pink", "grey")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
           "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")
GOOD = ("wonderful", "excellent", "delightful", "fantastic", "superb", "charming", "lovely", "brilliant", "pleasant", "amazing")
BAD = ("terrible", "awful", "dreadful", "horrible", "disappointing", "boring", "poor", "miserable", "unpleasant", "dismal")
REVIEWED = ("film", "meal", "hotel", "concert", "book", "service", "game", "tour", "course", "performance")
TOPICS = {
    "sports": ("The goalkeeper saved a late penalty", "She won the tennis final in three sets", "The runner broke the marathon record",
               "The team trained hard before the match", "He scored twice in the second half", "The swimmer took the gold medal"),
    "food": ("The soup needs more salt and pepper", "She baked bread with olives and rosemary", "The pasta was served with a tomato sauce",
             "He fried onions and garlic in butter", "The cake is made of chocolate and almonds", "They grilled fish with lemon"),
    "weather": ("Heavy rain is expected this evening", "Snow fell all night in the mountains", "A warm wind blew from the south",
                "The fog will clear by noon", "Thunderstorms are moving along the coast", "The morning was sunny but cold"),
    "travel": ("The train to the airport leaves at nine", "They booked a hotel near the old harbour", "Our flight was delayed by two hours",
               "She packed her passport and a map", "The tour bus stops at the castle", "He rented a car for the trip")}
VERBS = ("carried", "painted", "found", "lost", "cleaned", "bought", "sold", "repaired", "borrowed", "dropped")
PLACES = ("garden", "kitchen", "market", "library", "station", "museum", "office", "park", "school", "harbour")
