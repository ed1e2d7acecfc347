mod check_config;
mod delivery;
mod input;
mod receive;
mod secrets;
mod send;
mod stream;
mod tools;
