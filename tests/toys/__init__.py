"""A feed and a broker of somebody else's, as small as they can be: what the ports ask for, and nothing more."""
