"""Construction of a scenario's target dataset from the pool of one target model."""
