#include "replicator/demo/writer.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <string_view>

namespace farshore::demo {
namespace {

constexpr auto retry_after = std::chrono::milliseconds(100);
constexpr auto give_up_after = std::chrono::seconds(30);
/// Light enough that a laptop and a slow CI machine keep up with everything else that runs.
constexpr auto record_pause = std::chrono::milliseconds(2);
constexpr auto ballast_pause = std::chrono::milliseconds(5);
constexpr std::size_t ballast_page = 16 * 1024;

/// A page of which a small part changes between versions, a quarter is noise and the rest is text.
void fill_page(bytes_span page, std::uint64_t number, std::uint64_t version) {
    constexpr std::string_view text = "pending shipment of one article to the usual address; ";
    for (std::size_t at = 0; at < page.size(); at += text.size()) {
        std::memcpy(page.data() + at, text.data(), std::min(text.size(), page.size() - at));
    }
    std::mt19937_64 noise(number * 7919 + version / 8);
    for (std::size_t at = 0; at + 8 <= page.size() / 4; at += 8) {
        const std::uint64_t value = noise();
        std::memcpy(page.data() + at, &value, sizeof value);
    }
    const std::size_t row = page.size() / 4 + version * 64 % (page.size() / 2);
    std::memcpy(page.data() + row, &version, sizeof version);
}

} // namespace

void writers::note(const error &e) {
    const std::lock_guard held(lock_);
    if (problem_.empty()) {
        problem_ = e.text();
    }
}

std::string writers::problem() const {
    const std::lock_guard held(lock_);
    return problem_;
}

/// Repeats `step` on a connection; a failed one is replaced, as a client of a restarted server
/// does.
template <class Step>
void writers::run(Step step) {
    std::unique_ptr<store> connection;
    auto last_success = std::chrono::steady_clock::now();
    while (!stopping_) {
        error failed;
        if (connection == nullptr) {
            if (auto made = where_.connect()) {
                connection = std::move(*made);
            } else {
                failed = made.error();
            }
        }
        if (connection != nullptr) {
            if (const result<> done = step(*connection)) {
                last_success = std::chrono::steady_clock::now();
                continue;
            } else {
                failed = done.error();
                connection.reset();
                ++reconnects_;
            }
        }
        if (!where_.survives_sender() ||
            std::chrono::steady_clock::now() - last_success > give_up_after) {
            note(failed);
            return;
        }
        std::this_thread::sleep_for(retry_after);
    }
}

void writers::write_records() {
    buffer record(record_bytes);
    run([&](store &s) -> result<> {
        // A record that failed half-way is written again, first on A: same bytes, same order.
        const std::uint64_t number = records_ + 1;
        for (std::size_t i = 0; i < volume_letters.size(); ++i) {
            encode_record(number, volume_letters[i], record.span());
            FS_CHECK(s.put_record(i, number, record.view()));
            bytes_ += record_bytes;
        }
        ++records_;
        std::this_thread::sleep_for(record_pause);
        return {};
    });
}

void writers::write_ballast() {
    std::mt19937_64 random(20260101);
    buffer page(ballast_page);
    std::uint64_t version = 0;
    run([&](store &s) -> result<> {
        constexpr std::uint64_t pages = ballast_bytes / ballast_page;
        // Nine of ten writes go to a tenth of the pages.
        const std::uint64_t range = random() % 10 == 0 ? pages : pages / 10;
        const std::uint64_t number = random() % range;
        fill_page(page.span(), number, ++version);
        FS_CHECK(s.put_ballast(version % 2, number * ballast_page, page.view()));
        bytes_ += ballast_page;
        std::this_thread::sleep_for(ballast_pause);
        return {};
    });
}

void writers::start() {
    record_thread_ = std::thread([this] { write_records(); });
    ballast_thread_ = std::thread([this] { write_ballast(); });
}

void writers::stop() {
    stopping_ = true;
    if (record_thread_.joinable()) {
        record_thread_.join();
    }
    if (ballast_thread_.joinable()) {
        ballast_thread_.join();
    }
}

} // namespace farshore::demo
