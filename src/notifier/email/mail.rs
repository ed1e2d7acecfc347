//! Format of a mail: headers, and the same message as text and as HTML (RFC 5322, RFC 2046).

use std::fmt::Write as _;
use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};

use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::event::Event;
use crate::failure::Failure;
use crate::message::Message;
use crate::message::defaults::shown;
use crate::notifier::recipients::{Recipients, Refused, Syntax, split};
use crate::secret;
use crate::template::context::Context;
use crate::text::{Escape, characters, cut, printable};

/// Maximum length of the subject, in characters.
const SUBJECT: usize = 250;
/// Maximum length of the part of an address made for an id, in bytes: a line has room for 998.
const ID: usize = 200;
/// Maximum length of a person's name, in bytes: a header is folded between words only.
const NAME: usize = 250;
/// Maximum length of a run's name in a file name, in characters.
const NAME_OF_RUN: usize = 60;

/// Sender and recipients that all mails of a notifier share.
pub struct MailTemplate {
    /// Name of the notifier, which keeps its mails apart from those of another.
    name: String,
    pub from: Mailbox,
    to: Recipients,
    cc: Option<Recipients>,
    bcc: Option<Recipients>,
    reply_to: Vec<Mailbox>,
    /// True if the output of a command of `ansible-notify run` is attached.
    attaches_output: bool,
}

/// Recipients of one mail.
pub struct Addressees {
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    /// Recipients that the mail itself does not name.
    bcc: Vec<Mailbox>,
    pub refused: Refused,
}

/// Values of `attach`.
const ATTACHMENTS: [(&str, bool); 2] = [("none", false), ("output", true)];
/// Name of the attached output.
const OUTPUT: &str = "output.txt";

/// Addresses, whose names may hold a comma in quotes.
const ADDRESSES: Syntax = Syntax {
    read: |section, key| {
        let list = section.lines(key).into_iter().flat_map(addresses);
        list.collect()
    },
    split: addresses,
};

impl Addressees {
    /// Returns every address, each of them once.
    pub fn all(&self) -> Vec<&Address> {
        let mut all: Vec<&Address> = Vec::new();
        for mailbox in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            if !all.contains(&&mailbox.email) {
                all.push(&mailbox.email);
            }
        }
        all
    }
}

impl MailTemplate {
    /// Reads sender and recipients; None if one is missing or wrong, which the section notes.
    pub fn read(section: &Section) -> Option<MailTemplate> {
        let from = section
            .required("from")
            .map(|text| own_mailbox(section, "from", text));
        let optional = |key| Recipients::optional(section, key, &ADDRESSES, checked);
        let to = Recipients::required(section, "to", &ADDRESSES, checked);
        let (cc, bcc) = (optional("cc"), optional("bcc"));
        let list = section.lines("reply_to").into_iter().flat_map(addresses);
        let plain = list.filter(|text| section.is_plain("reply_to", text));
        let reply_to: Vec<Option<Mailbox>> = plain
            .map(|text| own_mailbox(section, "reply_to", text))
            .collect();
        let attaches_output = section.choice("attach", false, &ATTACHMENTS);
        Some(MailTemplate {
            name: section.name.trim_start_matches("notifier:").to_owned(),
            from: from??,
            to: to?,
            cc,
            bcc,
            reply_to: reply_to.into_iter().collect::<Option<_>>()?,
            attaches_output,
        })
    }

    /// Returns the recipients of a message.
    pub fn addressees(&self, message: &Message) -> Result<Addressees, Failure> {
        let mut refused = Vec::new();
        let mut mailboxes = |recipients: Option<&Recipients>| {
            let Some(recipients) = recipients else {
                return Ok(Vec::new());
            };
            let read = |text: &String| mailbox(text).map_err(Failure::permanent);
            let (named, wrong) = split(recipients.each(message, read)?);
            refused.extend(wrong);
            Ok(named.into_iter().map(|(_, mailbox)| mailbox).collect())
        };
        Ok(Addressees {
            to: mailboxes(Some(&self.to))?,
            cc: mailboxes(self.cc.as_ref())?,
            bcc: mailboxes(self.bcc.as_ref())?,
            refused,
        })
    }

    /// Returns an id derived from `parts`, the same on every call.
    pub fn id(&self, parts: &[&str]) -> String {
        let mut local = String::new();
        for part in parts.iter().chain([&self.name.as_str()]) {
            for byte in part.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                        local.push(byte.into());
                    }
                    _ => _ = write!(local, "={byte:02x}"),
                }
            }
            local.push('.');
        }
        local.truncate(ID);
        let local = local.trim_end_matches('.');
        format!("<{local}@{}>", self.from.email.domain())
    }

    /// Returns the mail for `message`, the same bytes on every attempt.
    pub fn mail(&self, message: &Message, to: &Addressees) -> Result<Vec<u8>, Failure> {
        self.written(message, to, |_| None)
    }

    /// Returns the mail for people to look at: its parts decoded, secrets masked.
    pub fn preview(&self, message: &Message, to: &Addressees) -> Result<String, Failure> {
        let mut masked = message.clone();
        masked.subject = secret::redact(&message.subject);
        let mail = self.written(&masked, to, |text| {
            let text = secret::redact(text).into_bytes();
            Some(Body::dangerous_pre_encoded(
                text,
                ContentTransferEncoding::EightBit,
            ))
        })?;
        Ok(String::from_utf8_lossy(&mail).replace("\r\n", "\n"))
    }

    /// Writes the mail; `body` may give a part a different form than the one it is sent in.
    fn written(
        &self,
        message: &Message,
        to: &Addressees,
        body: impl Fn(&str) -> Option<Body>,
    ) -> Result<Vec<u8>, Failure> {
        let part = |kind, text: String| {
            let body = body(&text).unwrap_or_else(|| Body::new(text));
            SinglePart::builder().header(kind).body(body)
        };
        let attached = |(name, text): (String, String)| {
            let body = body(&text).unwrap_or_else(|| Body::new(text));
            let name = ContentDisposition::attachment(&name);
            let file = SinglePart::builder().header(name);
            file.header(ContentType::TEXT_PLAIN).body(body)
        };
        let alternatives = MultiPart::alternative()
            .boundary("=_ansible-notify_=")
            .build()
            .singlepart(part(ContentType::TEXT_PLAIN, text(message)))
            .singlepart(part(ContentType::TEXT_HTML, html(message)));
        let event = message.context.event();
        let outputs = match self.attaches_output {
            true => outputs(&message.context),
            false => Vec::new(),
        };
        let content = match outputs.is_empty() {
            true => alternatives,
            false => {
                let parts = MultiPart::mixed().boundary("=_ansible-notify-parts_=");
                let parts = parts.multipart(alternatives);
                let outputs = outputs.into_iter().map(attached);
                outputs.fold(parts, MultiPart::singlepart)
            }
        };
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(cut(&message.subject, SUBJECT, characters))
            .message_id(Some(self.id(&[&message.id])))
            .date(date(event.time))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            // Otherwise Exchange would reply with every absence.
            .raw_header(raw("X-Auto-Response-Suppress", "All"))
            .user_agent(concat!("ansible-notify/", env!("CARGO_PKG_VERSION")).to_owned());
        builder = to
            .to
            .iter()
            .cloned()
            .fold(builder, lettre::message::MessageBuilder::to);
        builder = to
            .cc
            .iter()
            .cloned()
            .fold(builder, lettre::message::MessageBuilder::cc);
        let reply_to = self.reply_to.iter().cloned();
        builder = reply_to.fold(builder, lettre::message::MessageBuilder::reply_to);
        if let Some(thread) = self.thread(message) {
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        // The envelope is for SMTP alone; without it, lettre takes a mail with blind copies only for one to nobody.
        let all = to.all().into_iter().cloned().collect();
        let envelope = Envelope::new(Some(self.from.email.clone()), all);
        builder = envelope
            .map(|envelope| builder.envelope(envelope))
            .map_err(|error| Failure::permanent(format!("no mail can be made: {error}")))?;
        let mail = builder.multipart(content);
        let mail =
            mail.map_err(|error| Failure::permanent(format!("cannot build the mail: {error}")))?;
        Ok(mail.formatted())
    }

    /// Returns an id that all mails of a run refer to, so that mail programs group them. No mail has it.
    fn thread(&self, message: &Message) -> Option<String> {
        let run = &message.context.event().run.id;
        (!run.is_empty() && message.context.is_of_one_run()).then(|| self.id(&["run", run]))
    }
}

/// Returns the outputs of the commands in a message, with the names of the files to attach. Several files are
/// numbered and named after their runs.
fn outputs(context: &Context) -> Vec<(String, String)> {
    let output = |event: &Event| Some((event.run.name(), event.end.as_ref()?.output.clone()?));
    if !context.is_digest() {
        let own = output(context.event());
        return own
            .into_iter()
            .map(|(_, text)| (OUTPUT.to_owned(), text))
            .collect();
    }
    let outputs = shown(context).filter_map(|event| output(event));
    let named = outputs.enumerate().map(|(number, (run, text))| {
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let run = run.replace(|character| !is_plain(character), "-");
        let run = cut(&run, NAME_OF_RUN, characters).into_owned();
        (format!("output-{}-{run}.txt", number + 1), text)
    });
    named.collect()
}

/// Returns the date of a mail, in the years that a mail can have: from 1970 on.
fn date(time: jiff::Timestamp) -> SystemTime {
    let time = SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH);
    time.max(SystemTime::UNIX_EPOCH)
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Splits a list of addresses at commas and line breaks. A comma in double quotes or angle brackets separates
/// nothing (RFC 5322, section 3.4).
fn addresses(list: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    let separates = |character: char| {
        let is_escaped = std::mem::take(&mut escaped);
        match character {
            '\n' => (quoted, bracketed) = (false, false),
            '\\' => escaped = quoted && !is_escaped,
            '"' if !is_escaped => quoted = !quoted,
            '<' | '>' if !quoted => bracketed = character == '<',
            _ => {}
        }
        character == '\n' || character == ',' && !quoted && !bracketed
    };
    list.split(separates)
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .collect()
}

/// Reads an address of the notifier's own; notes problems in the section.
fn own_mailbox(section: &Section, key: &str, text: &str) -> Option<Mailbox> {
    let problem = |problem| section.problem(key, problem);
    mailbox(text).map_err(problem).ok()
}

/// Returns an address as it stands, if it is one.
fn checked(text: &str) -> Result<String, String> {
    mailbox(text).map(|_| text.to_owned())
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let given = quoted(text);
    match text.parse::<Mailbox>() {
        Ok(mailbox) if mailbox.name.as_deref().map_or(0, str::len) > NAME => Err(format!(
            "the name of `{}` must have at most {NAME} bytes",
            mailbox.email
        )),
        Ok(mailbox) if AsRef::<str>::as_ref(&mailbox.email).is_ascii() => Ok(mailbox),
        Ok(_) => Err(format!(
            "{given} must be an ASCII address; write its domain with `xn--`"
        )),
        Err(_) => Err(format!(
            "{given} is not an address such as ops@example.com or Ops <ops@example.com>"
        )),
    }
}

/// Returns the plain text: the message, the fields and the link.
fn text(message: &Message) -> String {
    let mut text = printable(message.text.trim()).into_owned();
    text.push_str("\n\n");
    for (name, value) in &message.fields {
        let _ = writeln!(text, "{name}: {value}");
    }
    if let Some(url) = message.link() {
        let _ = write!(text, "\n{}\n", printable(url));
    }
    text
}

/// Returns the user's `body`, or the same content as the text.
pub fn html(message: &Message) -> String {
    if let Some(body) = message.body.as_ref().and_then(|body| body.as_str()) {
        return printable(body).into_owned();
    }
    let escape = |text: &str| Escape::Html.apply(text);
    let mut html = format!(
        "<!DOCTYPE html>\n<html><body style=\"font-family: sans-serif\">\n\
         <div style=\"border-left: 4px solid {}; padding-left: 12px\">\n\
         <h3 style=\"margin: 0\">{}</h3>\n<pre style=\"white-space: pre-wrap\">{}</pre>\n",
        message.level.color(),
        escape(&message.subject),
        escape(message.text.trim()),
    );
    if !message.fields.is_empty() {
        html.push_str("<table cellpadding=\"2\">\n");
        for (name, value) in &message.fields {
            let (name, value) = (escape(name), escape(value).replace('\n', "<br>"));
            let _ = writeln!(
                html,
                "<tr><td style=\"color: #777\">{name}</td><td style=\"white-space: pre-wrap\">{value}</td></tr>"
            );
        }
        html.push_str("</table>\n");
    }
    let url = message.link();
    if let Some(url) = url.filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        let url = Escape::Html.apply(url);
        let _ = writeln!(html, "<p><a href=\"{url}\">{url}</a></p>");
    }
    html.push_str("</div>\n</body></html>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_may_hold_what_separates_addresses() {
        for (list, expected) in [
            (
                "a@x.example, b@x.example",
                &["a@x.example", "b@x.example"][..],
            ),
            (
                "\"Roe, Jane\" <jane@x.example>,ops@x.example",
                &["\"Roe, Jane\" <jane@x.example>", "ops@x.example"],
            ),
            (
                "\"Roe \\\"J, J\\\"\" <j@x.example>\nb@x.example,\n",
                &["\"Roe \\\"J, J\\\"\" <j@x.example>", "b@x.example"],
            ),
            ("Ops <a@x.example>, \"b", &["Ops <a@x.example>", "\"b"]),
            (
                "\"a\nb@x.example, c@x.example",
                &["\"a", "b@x.example", "c@x.example"],
            ),
            (" , ", &[]),
        ] {
            assert_eq!(addresses(list), expected, "{list}");
        }
    }
}
