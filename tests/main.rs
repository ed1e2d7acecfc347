//! The binary driven from outside: what it prints, how it exits, and what the endpoint received.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cases;
mod disk;
mod sandbox;
mod server;
