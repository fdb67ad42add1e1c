"""The ground floor: furniture that every room uses and that knows no domain noun."""
