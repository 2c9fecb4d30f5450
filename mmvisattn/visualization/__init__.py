"""Look inside a network: what it attends to, how far it sees, what its maps hold."""
