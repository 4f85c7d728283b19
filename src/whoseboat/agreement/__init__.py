"""Whether people agree with a judge, with the truth, and with each other; and blind sheets for people to fill in."""
