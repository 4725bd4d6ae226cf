//! The two threads that do storage's tasks: one writes, one reads.
//!
//! The database is called synchronously, and a commit waits for the disk; so it happens here. Tasks
//! that write, and an operator's work on the table of devices, are done one after the other; a long
//! read holds up no commit. Answers go to whoever gave the tasks. The threads end
//! with the handle, after what was given them. Not here: what is asked for (`gridbeat-relay-core`).

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use gridbeat_relay_core::{Answer, StoreFault, Task, TaskId};
use gridbeat_relay_store::{SqliteReader, SqliteStore, Store};

/// Work on the store itself.
pub(crate) type StoreWork = Box<dyn FnOnce(&mut SqliteStore) + Send>;

/// Where answers go.
pub(crate) type OnAnswer = Box<dyn Fn(TaskId, Result<Answer, StoreFault>) + Send>;

enum Job {
    Task(TaskId, Task),
    Work(StoreWork),
}

/// A handle to the two threads.
#[derive(Debug)]
pub(crate) struct Storage {
    writer: Worker,
    reader: Worker,
}

#[derive(Debug)]
struct Worker {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

impl Storage {
    /// Starts the threads. Each has a way of its own to hand answers on, which may wait.
    pub(crate) fn start(
        store: SqliteStore,
        reader: SqliteReader,
        on_answer: [OnAnswer; 2],
    ) -> io::Result<Self> {
        let [written, read] = on_answer;
        Ok(Self {
            writer: spawn("gridbeat-writer", store, written, |store, work| work(store))?,
            reader: spawn("gridbeat-reader", reader, read, |_, _| {
                unreachable!("work on the store goes to the writer")
            })?,
        })
    }

    /// Gives a task to the thread it is for.
    pub(crate) fn run(&self, id: TaskId, task: Task) {
        let thread = if task.is_write() {
            &self.writer
        } else {
            &self.reader
        };
        thread
            .jobs
            .send(Job::Task(id, task))
            .expect("the thread lives as long as this handle");
    }

    /// Has work done on the store itself, after what was given before.
    pub(crate) fn work(&self, work: StoreWork) {
        self.writer
            .jobs
            .send(Job::Work(work))
            .expect("the thread lives as long as this handle");
    }

    /// Waits until what was given is done and the files are closed. Nobody may still wait for a place
    /// among the answers.
    pub(crate) fn end(self) {
        for Worker { jobs, thread } in [self.writer, self.reader] {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
}

fn spawn<S: Store + 'static>(
    name: &str,
    mut store: S,
    on_answer: OnAnswer,
    do_work: fn(&mut S, StoreWork),
) -> io::Result<Worker> {
    // Unbounded, but holds no more than the brain has under way: one cycle and a read a scope.
    let (jobs, queue) = mpsc::channel();
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            for job in queue {
                match job {
                    Job::Task(id, task) => {
                        let result = store.run(&task);
                        if let Err(fault) = &result {
                            tracing::warn!(task = task.name(), %fault, "the store failed at a task");
                        }
                        // Freed before the answer waits for its turn: a batch may be a megabyte.
                        drop(task);
                        on_answer(id, result);
                    }
                    Job::Work(work) => do_work(&mut store, work),
                }
            }
        })?;
    Ok(Worker { jobs, thread })
}
