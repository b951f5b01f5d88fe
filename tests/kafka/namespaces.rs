//! Hosts of their own on one machine: network namespaces, each joined by two links, one to Kafka and one to who asks it.
//!
//! Needs root and iproute2. Each link is a pair of devices whose end on this machine is a port of a bridge: with that end
//! down nothing comes through, and neither side is told, as with a cable that is cut.

use std::path::Path;
use std::process::{Command, Stdio};

use super::host::Host;

/// Set aside for measuring networks, so nobody's.
const NETWORK: &str = "198.18";

/// What names of ours begin with; the process follows, so that what one left that was killed can be told.
const NAMED: &str = "pf";

/// The two networks, by the letter that names their devices and the third number of their addresses.
const INNER: (char, u8) = ('k', 0);
const OUTER: (char, u8) = ('w', 1);

/// Namespaces and their links; all are taken down when this goes.
pub struct Namespaces {
    /// What all names begin with.
    name: String,
    /// The first two numbers of all addresses, and the third of Kafka's network.
    third: u8,
    names: Vec<String>,
}

impl Namespaces {
    /// A namespace for each name, joined to the rest and to this machine. `None`, with a message, where there can be none; in
    /// CI only those without the rights are let off, such as root in a container.
    pub fn new(names: &[&str]) -> Option<Namespaces> {
        if let Err(why) = possible() {
            assert!(std::env::var_os("CI").is_none() || !is_allowed(), "network namespaces: {why}");
            println!("skipped: network namespaces: {why}");
            return None;
        }
        sweep();
        let name = format!("{NAMED}{}", std::process::id());
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let namespaces = Namespaces { name, third: free_network(), names };
        for network in [INNER, OUTER] {
            let bridge = namespaces.bridge(network);
            run(&format!("ip link add {bridge} type bridge"));
            run(&format!("ip addr add {}/24 dev {bridge}", namespaces.address(network, 1)));
            run(&format!("ip link set {bridge} up"));
        }
        for index in 0..namespaces.names.len() {
            namespaces.join(index);
        }
        Some(namespaces)
    }

    /// The host of a name.
    pub fn host(&self, name: &str) -> Host {
        let index = self.index(name);
        let [inner, outer] = [INNER, OUTER].map(|network| self.address(network, self.number(index)));
        Host::within(&self.namespace(index), &inner, &outer)
    }

    /// Cuts a host off from Kafka. Who asks it reaches it.
    pub fn cut(&self, name: &str) {
        run(&format!("ip link set {} down", self.device(INNER, self.index(name))));
    }

    pub fn mend(&self, name: &str) {
        run(&format!("ip link set {} up", self.device(INNER, self.index(name))));
    }

    /// Slows what goes between a host and Kafka in both directions. Where the kernel has no netem, packets are late because
    /// they wait for each other: one of full size takes an eighth of a second.
    pub fn slow(&self, name: &str) {
        let (device, namespace) = (self.device(INNER, self.index(name)), self.namespace(self.index(name)));
        for within in [format!("-n {namespace}"), String::new()] {
            let add = format!("tc {within} qdisc add dev {device} root");
            if !tried(&format!("{add} netem delay 300ms rate 1mbit")) {
                println!("the kernel has no netem: tbf slows the link");
                run(&format!("{add} tbf rate 100kbit burst 1600 latency 20s"));
            }
        }
    }

    pub fn hasten(&self, name: &str) {
        let (device, namespace) = (self.device(INNER, self.index(name)), self.namespace(self.index(name)));
        run(&format!("tc -n {namespace} qdisc del dev {device} root"));
        run(&format!("tc qdisc del dev {device} root"));
    }

    /// Connections that a host has tried to open since it was made.
    pub fn opened(&self, name: &str) -> u64 {
        let namespace = self.namespace(self.index(name));
        let output = Command::new("ip").args(["netns", "exec", &namespace, "cat", "/proc/net/snmp"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().filter(|line| line.starts_with("Tcp:")).map(|line| line.split(' ').collect()).collect();
        let index = lines[0].iter().position(|name| *name == "ActiveOpens").unwrap();
        lines[1][index].parse().unwrap()
    }

    /// Makes a namespace, and two links whose ends are called alike on both sides.
    fn join(&self, index: usize) {
        let namespace = self.namespace(index);
        run(&format!("ip netns add {namespace}"));
        run(&format!("ip -n {namespace} link set lo up"));
        for network in [INNER, OUTER] {
            let (device, address) = (self.device(network, index), self.address(network, self.number(index)));
            run(&format!("ip link add {device} type veth peer name {device} netns {namespace}"));
            run(&format!("ip link set {device} master {} up", self.bridge(network)));
            run(&format!("ip -n {namespace} addr add {address}/24 dev {device}"));
            run(&format!("ip -n {namespace} link set {device} up"));
        }
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| panic!("there is no host {name}"))
    }

    /// The last number of a host's addresses; this machine has the first.
    fn number(&self, index: usize) -> u8 {
        index as u8 + 2
    }

    fn namespace(&self, index: usize) -> String {
        format!("{}{}", self.name, named(index))
    }

    fn bridge(&self, (letter, _): (char, u8)) -> String {
        format!("{}{letter}", self.name)
    }

    fn device(&self, (letter, _): (char, u8), index: usize) -> String {
        format!("{}{}{letter}", self.name, named(index))
    }

    fn address(&self, (_, plus): (char, u8), number: u8) -> String {
        format!("{NETWORK}.{}.{number}", self.third + plus)
    }
}

/// A letter, so that a process' number before it ends there.
fn named(index: usize) -> char {
    char::from(b'A' + index as u8)
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        take_down(&self.name);
    }
}

/// Whether there can be namespaces here, tried with one.
fn possible() -> Result<(), String> {
    if !is_allowed() {
        return Err("only root makes them, with all of its rights".to_owned());
    }
    if let Some(missing) = ["ip", "tc"].into_iter().find(|program| Command::new(program).arg("-V").output().is_err()) {
        return Err(format!("{missing} is missing; `bash tests/run --install-only` installs iproute2"));
    }
    let trial = format!("{NAMED}{}trial", std::process::id());
    let made = tried(&format!("ip netns add {trial}")) && tried(&format!("ip netns exec {trial} true"));
    let gone = tried(&format!("ip netns del {trial}"));
    if made && gone { Ok(()) } else { Err("the kernel has none".to_owned()) }
}

/// CAP_NET_ADMIN and CAP_SYS_ADMIN.
const RIGHTS: u64 = 1 << 12 | 1 << 21;

fn is_allowed() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & RIGHTS == RIGHTS
}

/// Takes down what processes left that were killed.
fn sweep() {
    let listed = Command::new("ip").args(["-br", "link", "show", "type", "bridge"]).output().unwrap();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let bridge = line.split_whitespace().next().unwrap_or_default();
        let name = bridge.trim_end_matches([INNER.0, OUTER.0]);
        let process = name.strip_prefix(NAMED).and_then(|process| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            take_down(name);
        }
    }
}

/// Deletes devices and namespaces whose names begin so. What is not there any more is none.
fn take_down(name: &str) {
    let listed = |arguments: &[&str]| {
        let output = Command::new("ip").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let firsts = text.lines().filter_map(|line| line.split([' ', '@']).next().map(str::to_owned));
        firsts
            .filter(|found| found.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())))
            .collect::<Vec<_>>()
    };
    for device in listed(&["-br", "link", "show"]) {
        tried(&format!("ip link del {device}"));
    }
    for namespace in listed(&["netns", "list"]) {
        tried(&format!("ip netns del {namespace}"));
    }
}

/// Two networks side by side that no device here is in.
fn free_network() -> u8 {
    let addresses = Command::new("ip").args(["-br", "addr"]).output().unwrap();
    let addresses = String::from_utf8_lossy(&addresses.stdout).into_owned();
    let begin = (std::process::id() % 120) as u8;
    let mut pairs = (0..120).map(|more| (begin + more) % 120 * 2);
    let taken = |third: u8| [third, third + 1].iter().any(|third| addresses.contains(&format!("{NETWORK}.{third}.")));
    pairs.find(|third| !taken(*third)).unwrap()
}

#[track_caller]
fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tried(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}
