//! What a process does of all that there is to do: everything, or one of the roles that Kafka joins.

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    Run,
    /// Takes samples and appends them to the log.
    Gateway,
    /// Folds the log and combines the results.
    Worker,
    /// Holds the results and answers queries.
    Query,
}

/// What a process may be asked for and leave to another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Writes,
    Queries,
    Views,
    Jobs,
    Senders,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Run, Role::Gateway, Role::Worker, Role::Query];

    /// The command that starts it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Run => "run",
            Role::Gateway => "gateway",
            Role::Worker => "worker",
            Role::Query => "query",
        }
    }

    /// As one speaks of it.
    pub fn title(self) -> &'static str {
        match self {
            Role::Run => "a process with every role",
            Role::Gateway => "a gateway",
            Role::Worker => "a worker",
            Role::Query => "a query replica",
        }
    }

    /// Whether it is joined to others by Kafka, and cannot be without.
    pub fn needs_kafka(self) -> bool {
        self != Role::Run
    }

    /// Whether it reads a directory of jobs.
    pub fn reads_jobs(self) -> bool {
        matches!(self, Role::Run | Role::Worker)
    }

    /// Whether it reads any file again: jobs, or what is scraped.
    pub fn reads_again(self) -> bool {
        self != Role::Query
    }

    /// Whether it folds the log of samples.
    pub fn folds(self) -> bool {
        matches!(self, Role::Run | Role::Worker)
    }

    /// Whether it keeps anything on the disk.
    pub fn has_data(self) -> bool {
        matches!(self, Role::Run | Role::Query)
    }

    /// What it does at its start before it can answer queries from results.
    pub fn catching_up(self) -> &'static str {
        match self {
            Role::Query => "the results are being read",
            Role::Run | Role::Gateway | Role::Worker => "the log is being replayed",
        }
    }

    /// What is said to whoever asks it for something that another role does.
    pub fn refusal(self, asked: Asked) -> String {
        let elsewhere = match asked {
            Asked::Writes => "remote write is taken by `prefold gateway`",
            Asked::Queries => "queries are answered by `prefold query`",
            Asked::Views => "views are listed by `prefold query`",
            Asked::Jobs => "jobs are listed by `prefold worker` and `prefold query`",
            Asked::Senders => "senders are listed by `prefold query`",
        };
        format!("this is {}: {elsewhere}", self.title())
    }
}
