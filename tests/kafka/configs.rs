//! Kafka's own command-line tools, run from the jars of the broker.

use std::process::{Command, Stdio};

use super::cluster::Cluster;

/// Runs a tool of Kafka's by its class, and returns what it says.
pub fn tool(cluster: &Cluster, class: &str, arguments: &[&str]) -> String {
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-Xmx200m", "-cp"])
        .arg(cluster.classpath())
        .arg(class)
        .args(["--bootstrap-server", &cluster.brokers()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Changes one setting of a topic.
pub fn alter(cluster: &Cluster, topic: &str, setting: &str) {
    let arguments = ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", setting];
    tool(cluster, "kafka.admin.ConfigCommand", &arguments);
}
