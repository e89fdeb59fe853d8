"""The closed-form head: integer statistics of everybody, solved to the same bits in every environment."""
