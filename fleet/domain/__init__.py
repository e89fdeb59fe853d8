"""State machines and rules of the fleet: pure values, no input or output."""
