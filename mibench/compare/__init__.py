"""What results say together: who is better, how surely, and what others published."""
