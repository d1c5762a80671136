//! Components written by hand: what they may do, and what becomes of those that do more.

mod bounds;
mod calls;
mod loading;
mod world;
