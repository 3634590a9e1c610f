"""What models answer: the only room that trains, each model once, and keeps all answers on disk."""
