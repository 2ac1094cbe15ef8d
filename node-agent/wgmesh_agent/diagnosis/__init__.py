"""What is wrong, and what to do about it: from facts to sentences for people. Pure."""
