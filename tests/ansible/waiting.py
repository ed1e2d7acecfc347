"""How long a test waits for something that is certain to come."""

# Seconds. Nothing passes or fails by it, however busy the machine is: it ends a test that hangs.
PATIENCE = 900
