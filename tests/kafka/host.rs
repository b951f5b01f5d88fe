//! Where a process of a test runs: this machine as it is, or a network namespace of its own, as if on another host.

use std::process::Command;

/// A host, and the addresses that processes on it listen at.
#[derive(Clone)]
pub struct Host {
    /// `None` is this machine.
    namespace: Option<String>,
    /// In the network that joins it to Kafka.
    pub inner: String,
    /// In the network of those who ask it.
    pub outer: String,
}

impl Host {
    pub fn here() -> Host {
        Host { namespace: None, inner: "127.0.0.1".to_owned(), outer: "127.0.0.1".to_owned() }
    }

    pub fn within(namespace: &str, inner: &str, outer: &str) -> Host {
        Host { namespace: Some(namespace.to_owned()), inner: inner.to_owned(), outer: outer.to_owned() }
    }

    /// What stands before a command line there. It becomes the command: signals reach it.
    pub fn prefix(&self) -> Vec<&str> {
        self.namespace.iter().flat_map(|name| ["ip", "netns", "exec", name]).collect()
    }

    /// A command as it is started there.
    pub fn command(&self, command: Command) -> Command {
        if self.namespace.is_none() {
            return command;
        }
        let prefix = self.prefix();
        let mut there = Command::new(prefix[0]);
        there.args(&prefix[1..]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            there.current_dir(folder);
        }
        there.stdin(std::process::Stdio::null());
        there
    }
}
