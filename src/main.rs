mod event;
mod exit;
mod records;
mod report;
mod secret;
mod template;
fn main() {}
