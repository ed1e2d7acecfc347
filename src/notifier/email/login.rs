//! Login at an SMTP server, as configured.

use lettre::transport::smtp::authentication::Mechanism;

use crate::config::section::Section;
use crate::net::http::Http;
use crate::net::oauth::OAuth;
use crate::secret::{self, Secret};

/// Login of a user at the server.
pub struct Login {
    /// Allowed mechanisms, the best first.
    pub mechanisms: &'static [Mechanism],
    pub username: String,
    pub credential: Credential,
}

/// Source of the password or token.
pub enum Credential {
    /// Password, or token of XOAUTH2.
    Fixed(Secret),
    /// Token of XOAUTH2, obtained by OAuth.
    Fetched(Box<OAuth>),
}

impl Login {
    /// Reads the keys of a section. None if they are wrong; Some(None) if there are no such keys.
    pub fn read(section: &Section, http: &Http, host: &str) -> Option<Option<Login>> {
        let oauth = OAuth::read(section, http);
        let username = section.text("username");
        let password = section.secret("password");
        let token = section.secret("token");
        let is_oauth = !matches!(oauth, Some(None));
        let default: &[Mechanism] = match section.is_given("token") || is_oauth {
            true => &[Mechanism::Xoauth2],
            false => &[Mechanism::Plain, Mechanism::Login],
        };
        let mechanisms: [(&str, &[Mechanism]); 3] = [
            ("plain", &[Mechanism::Plain]),
            ("login", &[Mechanism::Login]),
            ("xoauth2", &[Mechanism::Xoauth2]),
        ];
        let mechanisms = section.choice("auth", default, &mechanisms);
        let wants_token = mechanisms == [Mechanism::Xoauth2];
        let Some(username) = username else {
            for key in ["password", "token", "oauth_token_url"] {
                if section.is_given(key) {
                    section.needs(key, "username");
                }
            }
            return Some(None);
        };
        if is_oauth {
            return Login::with_token(section, username, mechanisms, oauth??);
        }
        let (key, other) = if wants_token {
            ("token", "password")
        } else {
            ("password", "token")
        };
        if section.is_given(other) {
            section.problem(
                other,
                format!("`{other}` is not used with this `auth`; use `{key}`"),
            );
        }
        let ask = || section.prompt(&format!("Password of {username} at {host}: "));
        let secret = if wants_token {
            token.or_else(|| section.missing(key))?
        } else if section.is_given(key) {
            password?
        } else {
            let blank = || section.is_blank(key).then(|| Secret::new(""));
            blank().or_else(ask).or_else(|| section.missing(key))?
        };
        // The mechanisms that send both together.
        secret::mask(&format!("\0{username}\0{}", secret.expose()));
        secret::mask(&bearer(username, &secret));
        Some(Some(Login {
            mechanisms,
            username: username.to_owned(),
            credential: Credential::Fixed(secret),
        }))
    }

    /// Returns the login with OAuth tokens, which allows no other credentials.
    fn with_token(
        section: &Section,
        username: &str,
        mechanisms: &'static [Mechanism],
        oauth: OAuth,
    ) -> Option<Option<Login>> {
        let key = "oauth_token_url";
        for other in ["password", "token"] {
            if section.is_given(other) {
                let text = format!("`{key}` and `{other}` are set; keep one of them");
                section.problem(key, text);
            }
        }
        if mechanisms != [Mechanism::Xoauth2] {
            let text = "`auth` must be `xoauth2` with `oauth_token_url`";
            section.problem("auth", text);
        }
        Some(Some(Login {
            mechanisms,
            username: username.to_owned(),
            credential: Credential::Fetched(Box::new(oauth)),
        }))
    }
}

/// Returns the XOAUTH2 form of a user and a token.
pub fn bearer(username: &str, token: &Secret) -> String {
    format!("user={username}\x01auth=Bearer {}\x01\x01", token.expose())
}
