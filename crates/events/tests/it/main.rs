//! CloudEvents from form to form, and laws that hold for whatever comes.

mod forms;
mod laws;
