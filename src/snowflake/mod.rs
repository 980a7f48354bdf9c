//! Snowflake-style IDs: the layout of the bits and the generator. Pure (I7).
