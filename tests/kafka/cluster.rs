//! A Kafka cluster of one or three nodes on free ports of this machine, each broker and controller at once.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use super::host::Host;
use super::jars::jars;
use crate::ports::free_port;

/// How long a node may take to start on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that is held here may be taken on another host.
const ATTEMPTS: usize = 5;

/// Any 16 bytes in base64.
const CLUSTER_ID: &str = "cHJlZm9sZC10ZXN0cy1hYQ";

/// Known to every cluster; a listener that asks for users has to be added.
const USER: &str = "name=prefold,password=open-sesame";

/// Starts a node, says its process, and ends it when stdin does: whoever holds the other end may die as it likes.
const KEEPER: &str = r#""$@" </dev/null >"$LOG" 2>&1 & node=$!; echo $node; cat >/dev/null; kill -9 $node 2>/dev/null"#;

/// A running cluster; it ends, and its folder goes, when this is dropped or the process dies.
pub struct Cluster {
    nodes: Vec<Node>,
    folder: tempfile::TempDir,
    jars: PathBuf,
    /// Where all nodes run.
    host: Host,
}

/// One node: its port for clients, and its process while it runs.
struct Node {
    port: u16,
    guarded: u16,
    config: PathBuf,
    running: Option<Running>,
}

/// Where a node listens.
pub struct Ports {
    pub plain: u16,
    pub controller: u16,
    /// For a listener that a test adds.
    pub guarded: u16,
}

struct Running {
    /// The shell that keeps the node; its stdin is ours to close.
    keeper: Child,
    pid: u32,
}

/// The cluster that all tests of this process share, each with topics of its own. `None` where there can be none.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(1)).as_ref()
}

impl Cluster {
    /// A cluster of so many nodes. `None` where there can be none.
    pub fn start(nodes: usize) -> Option<Cluster> {
        Cluster::start_with(nodes, |_| String::new())
    }

    /// A cluster with further properties, for which it is told the ports of the first node, and with users.
    pub fn start_with(nodes: usize, further: impl Fn(&Ports) -> String) -> Option<Cluster> {
        Cluster::start_on(&Host::here(), nodes, further)
    }

    /// The same on another host than this machine itself.
    pub fn start_on(host: &Host, nodes: usize, further: impl Fn(&Ports) -> String) -> Option<Cluster> {
        let jars = jars()?;
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().unwrap();
            let mut cluster = Cluster { nodes: Vec::new(), folder, jars: jars.clone(), host: host.clone() };
            cluster.configure(nodes, &further);
            (0..nodes).for_each(|index| cluster.start_node(index));
            match cluster.wait() {
                Ok(()) => return Some(cluster),
                Err(why) => println!("Kafka did not start: {why}"),
            }
        }
        panic!("Kafka did not start");
    }

    /// What `bootstrap.servers` is.
    pub fn brokers(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| format!("{}:{}", self.host.inner, node.port)).collect();
        addresses.join(",")
    }

    /// Where Java finds Kafka.
    pub fn classpath(&self) -> String {
        format!("{}/*", self.jars.display())
    }

    /// SIGKILL to a node, and gone.
    pub fn kill_node(&mut self, index: usize) {
        self.nodes[index].running = None;
    }

    /// Starts a node that was killed, on its old port and data.
    pub fn start_node(&mut self, index: usize) {
        let log = self.folder.path().join(format!("node-{index}.log"));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "kafka"])
            .args(self.host.prefix())
            .args(["java", "-Xms64m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", self.jars.display()))
            .arg("kafka.Kafka")
            .arg(&self.nodes[index].config)
            .env("LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let pid = said.trim().parse().unwrap();
        self.nodes[index].running = Some(Running { keeper, pid });
    }

    /// Sends a signal to a node by name.
    pub fn signal_node(&self, index: usize, name: &str) {
        let pid = self.nodes[index].running.as_ref().unwrap().pid;
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until all nodes that run know each other and answer.
    pub fn wait(&mut self) -> Result<(), String> {
        let admin = admin(&self.brokers());
        let began = Instant::now();
        let wanted = self.nodes.iter().filter(|node| node.running.is_some()).count();
        loop {
            let known = admin.inner().fetch_metadata(None, Duration::from_secs(1)).map_or(0, |found| found.brokers().len());
            if known >= wanted {
                return Ok(());
            }
            let gone = self.nodes.iter_mut().filter_map(|node| node.running.as_mut()).any(|running| !running.is_alive());
            if gone || began.elapsed() > PATIENCE {
                return Err(self.logs());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn configure(&mut self, nodes: usize, further: &impl Fn(&Ports) -> String) {
        let ports = (0..nodes).map(|_| Ports { plain: free_port(), controller: free_port(), guarded: free_port() });
        let ports: Vec<Ports> = ports.collect();
        let voter = |(index, ports): (usize, &Ports)| format!("{}@127.0.0.1:{}", index + 1, ports.controller);
        let voters: Vec<String> = ports.iter().enumerate().map(voter).collect();
        for (index, ports) in ports.iter().enumerate() {
            let data = self.folder.path().join(format!("node-{index}"));
            let config = self.folder.path().join(format!("node-{index}.properties"));
            // What is said later holds.
            fs::write(&config, properties(index + 1, ports, &voters, &data, &self.host.inner) + &further(ports)).unwrap();
            self.format(&config);
            self.nodes.push(Node { port: ports.plain, guarded: ports.guarded, config, running: None });
        }
    }

    /// Where the first node listens for clients that must say who they are.
    pub fn guarded(&self) -> String {
        format!("127.0.0.1:{}", self.nodes[0].guarded)
    }

    fn format(&self, config: &Path) {
        let output = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", self.jars.display()))
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID])
            .args(["--add-scram", &format!("SCRAM-SHA-256=[{USER}]"), "--add-scram", &format!("SCRAM-SHA-512=[{USER}]")])
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn logs(&self) -> String {
        let mut logs = String::new();
        for index in 0..self.nodes.len() {
            let file = fs::File::open(self.folder.path().join(format!("node-{index}.log")));
            let _ = file.and_then(|mut file| file.read_to_string(&mut logs));
        }
        logs
    }
}

impl Running {
    fn is_alive(&mut self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A client for the administration of a cluster.
pub fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    // Nodes that are starting refuse connections: that is no news.
    ClientConfig::new().set("bootstrap.servers", brokers).set("log_level", "0").create().unwrap()
}

/// Patient, for busy machines.
pub fn patient() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(60))).operation_timeout(Some(Duration::from_secs(60)))
}

fn properties(id: usize, ports: &Ports, voters: &[String], data: &Path, host: &str) -> String {
    let (copies, clients, controllers) = (voters.len(), ports.plain, ports.controller);
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={}\n\
         listeners=PLAINTEXT://{host}:{clients},CONTROLLER://127.0.0.1:{controllers}\n\
         advertised.listeners=PLAINTEXT://{host}:{clients}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={copies}\n\
         offsets.topic.replication.factor={copies}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={copies}\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         log.cleaner.enable=false\n",
        voters.join(","),
        data.display(),
    )
}
