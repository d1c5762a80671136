//! Laws of headers about certificates.

mod fuzz;
