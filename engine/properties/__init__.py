"""What is carried: how each property enters the methods and leaves them."""
