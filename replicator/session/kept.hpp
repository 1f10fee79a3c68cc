#pragma once
// A small value with a file of its own: what the operator set, who is trusted.
//
// A change takes hold when it is durable, so that a disk's failure leaves what was, in memory as on
// the disk. Changes are made one after another, each on what the one before left. The disk's work
// is done on a pool; all else on home.

#include "replicator/base/async.hpp"
#include "replicator/base/log.hpp"
#include "replicator/storage/file_system.hpp"
#include "transport/fifo_lock.hpp"

#include <string>
#include <utility>

namespace farshore {

/// T is copied, and `std::string text_of(const T &)` found by its argument writes it. The object
/// must outlive the coroutines of its changes.
template <class T>
class kept {
  public:
    kept(file_system &files, executor disk, std::string path, T value = {})
        : files_(files), disk_(std::move(disk)), path_(std::move(path)), value_(std::move(value)) {}
    kept(const kept &) = delete;
    kept &operator=(const kept &) = delete;

    const T &operator*() const { return value_; }
    const T *operator->() const { return &value_; }
    const std::string &path() const { return path_; }
    /// At a start: what was read from the file.
    void found(T value) { value_ = std::move(value); }

    /// `f` is a result<>(T &) without effects on anything else: it is called on a copy, and again
    /// on the value once the copy is durable. Its error, or the disk's, changes nothing. What
    /// changes no byte of the file is not written.
    template <class F>
    task<result<>> change(F f) {
        const auto turn = co_await changes_.acquire();
        T changed = value_;
        FS_CO_CHECK(f(changed));
        std::string text = text_of(changed);
        if (behind_ || text != text_of(value_)) {
            FS_CO_CHECK(co_await write(std::move(text)));
        }
        static_cast<void>(f(value_)); // and not the copy: change_now() may have been here meanwhile
        co_return result<>{};
    }

    /// For what no failure may take back: holds at once, and is written soon by a task of `owner`;
    /// until that succeeds each failure is said behind `what`, and the next change tries again.
    template <class F>
    void change_now(F f, task_group &owner, std::string what) {
        f(value_);
        behind_ = true;
        if (!std::exchange(writing_, true)) {
            owner.spawn(write_newest(std::move(what)));
        }
    }

  private:
    task<result<>> write(std::string text) {
        auto written = co_await run_on(disk_, [this, text = std::move(text)] {
            return files_.replace_file(path_, as_bytes(text));
        });
        if (written) {
            behind_ = false;
        }
        co_return written;
    }
    task<void> write_newest(std::string what) {
        const auto turn = co_await changes_.acquire();
        writing_ = false; // what is changed from here on is not in this text
        if (auto written = co_await write(text_of(value_)); !written) {
            behind_ = true;
            log::warning("{}: {}", what, written.error().text());
        }
    }

    file_system &files_;
    executor disk_;
    std::string path_;
    T value_;
    transport::fifo_lock changes_;
    bool behind_ = false;  ///< the file has not all of the value
    bool writing_ = false; ///< write_newest() was spawned and has not taken its text
};

} // namespace farshore
