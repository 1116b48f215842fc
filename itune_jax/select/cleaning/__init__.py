"""What is wrong with the texts of rows: repaired, or a reason to leave a row out."""
