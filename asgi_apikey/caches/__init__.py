"""What a process, or a group of them, remembers about presented keys."""
