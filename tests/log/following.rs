//! Readers that follow closely and find records in memory, readers that lag and find them on the disk: all read the same.

use std::time::Duration;

use prefold::log::{Log, LogReader, LogRecord, ReadFrom};

use super::{ManualClock, append, open, options, record};

/// Reads what there is.
fn read_on(reader: &mut dyn LogReader, out: &mut Vec<LogRecord>) {
    while reader.read(out, 200, Duration::ZERO).unwrap() > 0 {}
}

#[test]
fn readers_near_and_far_read_the_same() {
    for recent_bytes_max in [0, 1000, 3000, 1 << 20] {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let mut options = options(&clock);
        (options.recent_bytes_max, options.segment_bytes) = (recent_bytes_max, 400);
        let log = open(folder.path(), options);
        let readers = [1, 2, 7, 40, 100].map(|every| (every, log.reader(ReadFrom::Beginning).unwrap(), Vec::new()));
        let mut readers = Vec::from(readers);
        for n in 0..100usize {
            clock.advance(5);
            let payload = |index: usize| format!("{n} {index} {}", "x".repeat(n * 37 % 300));
            append(&log, (0..1 + n % 3).map(|index| record(((n + index) % 4) as u16, payload(index))).collect());
            for (_, reader, read) in readers.iter_mut().filter(|(every, ..)| (n + 1) % every == 0) {
                read_on(reader.as_mut(), read);
            }
        }
        assert!(log.stats().disk.unwrap().segments > 5, "readers cross from one file to the next");
        let mut all = Vec::new();
        for (_, reader, read) in &mut readers {
            read_on(reader.as_mut(), read);
        }
        read_on(log.reader(ReadFrom::Beginning).unwrap().as_mut(), &mut all);
        assert_eq!(all.len(), (0..100).map(|n| 1 + n % 3).sum::<usize>());
        for (every, _, read) in &readers {
            assert!(*read == all, "read after every {every} appends, {recent_bytes_max} bytes in memory");
        }
    }
}
