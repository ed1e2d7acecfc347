//! At a real terminal: the password that is asked for, and Ctrl-C.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::sandbox::{BINARY, Config, Sandbox, config_for};
use crate::server::{OK, Reply, Server, dead_url};

const EVENT: &str = r#"{"state":"failed","host":"web1"}"#;
const PROMPT: &str = "Password of anna for [inputs]: ";
const CTRL_C: &str = "\u{3}";
const SIGINT: i32 = 2;

/// A shell at a terminal of its own, and what the terminal shows.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    shell: Child,
    /// Kept as long as the shell runs in it.
    _sandbox: Sandbox,
}

impl Terminal {
    /// Runs a script in which `$BINARY` is the program, with `event.json` at hand.
    fn run(sandbox: Sandbox, script: &str) -> Terminal {
        sandbox.file("event.json", EVENT);
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits() as i32)
            .open(name.to_str().unwrap())
            .unwrap();
        let shell = Command::new("setsid")
            .args(["--ctty", "sh", "-c", script])
            .current_dir(sandbox.root())
            .env_clear()
            .env("HOME", sandbox.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("BINARY", BINARY)
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line)
            .spawn()
            .expect("setsid is needed");
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Ends with an error when the last process has left the terminal.
            while let Ok(length @ 1..) = output.read(&mut piece) {
                shown.lock().unwrap().extend(&piece[..length]);
            }
        });
        Terminal {
            keyboard,
            screen,
            shell,
            _sandbox: sandbox,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn screen(&self) -> String {
        String::from_utf8(self.screen.lock().unwrap().clone()).unwrap()
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    /// Waits for the question. What is typed before the echo is off would be shown.
    #[track_caller]
    fn wait_for_prompt(&self) {
        self.wait_until(|terminal| terminal.screen().ends_with(PROMPT) && !terminal.echoes());
    }

    /// Waits until the shell has ended and the screen holds `last`.
    #[track_caller]
    fn wait_for_end(&mut self, last: &str) -> ExitStatus {
        let started = Instant::now();
        self.wait_until(|terminal| terminal.screen().contains(last));
        let status = self.shell.wait().unwrap();
        assert!(started.elapsed() < Duration::from_secs(60), "promptly");
        status
    }

    #[track_caller]
    fn wait_until(&self, condition: impl Fn(&Terminal) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            let patient = started.elapsed() < Duration::from_secs(60);
            assert!(patient, "on the screen: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn asking(server: &Server) -> Sandbox {
    Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nusername = anna\n[delivery]\ndrain = 60\n",
        server.url()
    ))
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    for script in [
        r#"exec "$BINARY" send event.json"#,
        // The events come through a pipe, the password from the keyboard.
        r#"cat event.json | "$BINARY" send -"#,
        r#"exec "$BINARY" test"#,
    ] {
        let server = Server::start([OK]);
        let mut terminal = Terminal::run(asking(&server), script);
        terminal.wait_for_prompt();
        terminal.press("p;ss wörd\n");
        let status = terminal.wait_for_end("delivered");
        assert_eq!(status.code(), Some(0));
        assert!(!terminal.screen().contains("p;ss"), "{}", terminal.screen());
        // "anna:p;ss wörd".
        let expected = Some("Basic YW5uYTpwO3NzIHfDtnJk");
        assert_eq!(server.requests()[0].header("authorization"), expected);
    }
}

#[test]
fn no_password_is_a_problem_of_the_configuration() {
    let server = Server::start([OK]);
    let mut terminal = Terminal::run(asking(&server), r#"exec "$BINARY" send event.json"#);
    terminal.wait_for_prompt();
    terminal.press("\n");
    let status = terminal.wait_for_end("`username` has no password");
    assert_eq!(status.code(), Some(78));
}

#[test]
fn ctrl_c_at_the_question_sends_nothing_and_leaves_the_terminal_as_it_was() {
    let server = Server::start([OK]);
    let script = r#"trap : INT; "$BINARY" send event.json; echo "ended: $?"; stty -a"#;
    let mut terminal = Terminal::run(asking(&server), script);
    terminal.wait_for_prompt();
    terminal.press(CTRL_C);
    terminal.wait_for_end("-echoprt");
    let screen = terminal.screen();
    assert!(screen.contains("ended: 130"), "{screen}");
    assert!(
        screen.contains(" echo ") && screen.contains("isig icanon"),
        "{screen}"
    );
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn ctrl_c_ends_the_wait_for_an_answer() {
    for asks in [false, true] {
        let server = Server::start([Reply::Silence]);
        let sandbox = asking(&server);
        if !asks {
            let config = Config::to(&server.url()).delivery("drain = 60").text();
            sandbox.file("plugin_config.ini", config);
        }
        let mut terminal = Terminal::run(sandbox, r#"exec "$BINARY" send event.json"#);
        if asks {
            terminal.wait_for_prompt();
            terminal.press("password\n");
        }
        terminal.wait_until(|_| !server.requests().is_empty());
        terminal.press(CTRL_C);
        let status = terminal.wait_for_end("^C");
        assert_eq!(status.signal(), Some(SIGINT));
    }
}

#[test]
fn who_sits_at_a_terminal_sees_how_far_it_is() {
    let server = Server::start([Reply::After(Duration::from_millis(5))]);
    let many = EVENT.repeat(200);
    let sandbox = || {
        let sandbox =
            Sandbox::with_config(&Config::to(&server.url()).delivery("drain = 60").text());
        sandbox.file("many.json", &many);
        sandbox
    };
    let last = "200 events, 200 deliveries: all delivered";
    let script = "export TERM=xterm; stty cols 80; \"$BINARY\" send many.json";
    let mut terminal = Terminal::run(sandbox(), script);
    terminal.wait_until(|terminal| terminal.screen().contains(last));
    assert!(terminal.shell.wait().unwrap().success());
    let screen = terminal.screen();
    assert!(screen.contains(" of 200, "), "{screen:?}");

    let into_a_file = script.to_owned() + " 2>said; cat said";
    let mut terminal = Terminal::run(sandbox(), &into_a_file);
    terminal.wait_until(|terminal| terminal.screen().contains(last));
    terminal.shell.wait().unwrap();
    assert_eq!(terminal.screen(), format!("ansible-notify: {last}\r\n"));
}

#[test]
fn flush_at_a_terminal_says_how_far_it_is() {
    let server = Server::start([Reply::After(Duration::from_millis(5))]);
    let sandbox = Sandbox::with_config(&Config::to(&dead_url()).delivery("drain = 0").text());
    sandbox.file("many.json", EVENT.repeat(200));
    sandbox.file("alive.ini", config_for(&server.url()));
    let script = "export TERM=xterm; stty cols 80; \"$BINARY\" send -q many.json; cp alive.ini plugin_config.ini; \"$BINARY\" flush";
    let mut terminal = Terminal::run(sandbox, script);
    let last = "200 deliveries: all delivered\r\n";
    terminal.wait_until(|terminal| terminal.screen().ends_with(last));
    assert!(terminal.shell.wait().unwrap().success());
    let screen = terminal.screen();
    assert!(screen.contains(" of 200, "), "{screen:?}");
}

#[test]
fn states_have_colours_on_a_terminal_unless_turned_off() {
    let show = "\"$BINARY\" status; \"$BINARY\" history; \"$BINARY\" history 1; echo shown";
    for (variables, coloured) in [
        ("TERM=xterm", true),
        ("TERM=xterm NO_COLOR=1", false),
        ("TERM=dumb", false),
    ] {
        let sandbox = Sandbox::with_config(&Config::to(&dead_url()).delivery("drain = 0").text());
        let script =
            format!("export {variables}; \"$BINARY\" send -q --no-wait event.json; {show}");
        let mut terminal = Terminal::run(sandbox, &script);
        terminal.wait_for_end("shown");
        let screen = terminal.screen();
        assert!(screen.to_lowercase().contains("pending"), "{screen}");
        assert_eq!(
            screen.contains("\u{1b}["),
            coloured,
            "{variables}: {screen:?}"
        );
    }
}

#[test]
fn a_demo_at_a_terminal_shows_the_page_until_it_is_interrupted() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    let tmp = sandbox.path("tmp");
    let script = format!(r#"TMPDIR='{}' exec "$BINARY" demo"#, tmp.display());
    let mut terminal = Terminal::run(sandbox, &script);
    terminal.wait_until(|terminal| terminal.screen().contains("/#token="));
    terminal.press(CTRL_C);
    let status = terminal.wait_for_end("The page, until Ctrl-C");
    assert_eq!(status.code(), Some(0), "{}", terminal.screen());
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}
