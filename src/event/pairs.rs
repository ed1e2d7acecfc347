//! Objects with a name and a value, as in lists of environment variables and loops over `dict2items`.

use std::ops::Range;

/// Objects of a JSON text that are open, the innermost last.
#[derive(Default)]
pub struct Pairs {
    open: Vec<Object>,
}

/// The name and the value of an object, by their places in the text.
pub struct Pair {
    pub name: Range<usize>,
    pub value: Range<usize>,
}

#[derive(Default)]
struct Object {
    members: usize,
    name: Option<Range<usize>>,
    value: Option<Range<usize>>,
    /// The member being read, and the start of its value.
    last: Option<(Role, usize)>,
}

/// Part of a member in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Name,
    Value,
}

impl Role {
    /// Returns the role of the member with this key.
    pub fn of(key: &str) -> Option<Role> {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        match () {
            () if is("key") || is("name") => Some(Role::Name),
            () if is("value") => Some(Role::Value),
            () => None,
        }
    }
}

impl Pairs {
    /// Opens an object.
    pub fn begin(&mut self) {
        self.open.push(Object::default());
    }

    /// Adds a member to the innermost object: its key, which starts at `start`, and the start of its value.
    pub fn member(&mut self, text: &str, start: usize, key: &str, value: usize) {
        if let Some(object) = self.open.last_mut() {
            object.finish(text, start);
            object.members += 1;
            object.last = Role::of(key).map(|role| (role, value));
        }
    }

    /// Closes the innermost object, whose bracket is at `end`, and returns its pair if it has only that.
    pub fn end(&mut self, text: &str, end: usize) -> Option<Pair> {
        let mut object = self.open.pop()?;
        object.finish(text, end);
        let (name, value) = (object.name?, object.value?);
        (object.members == 2).then_some(Pair { name, value })
    }
}

impl Object {
    /// Ends the member being read; the next one, or the bracket, is at `end`.
    fn finish(&mut self, text: &str, end: usize) {
        let Some((role, start)) = self.last.take() else {
            return;
        };
        let value = text[start..end].trim_end();
        let value = value.strip_suffix(',').unwrap_or(value).trim_end();
        let place = Some(start..start + value.len());
        match role {
            Role::Name => self.name = place,
            Role::Value => self.value = place,
        }
    }
}
