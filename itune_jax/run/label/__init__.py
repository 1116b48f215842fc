"""What people say of rows and answers: pages that ask them, and what becomes of their answers."""
