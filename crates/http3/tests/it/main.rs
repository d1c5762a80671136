//! Tests of the codec from outside.

mod fuzz;
