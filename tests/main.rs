//! The binary driven from outside: what it prints, how it exits, and what the endpoint received.

mod cases;
mod sandbox;
mod server;
