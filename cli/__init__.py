"""What a person types and sees: the top house."""
