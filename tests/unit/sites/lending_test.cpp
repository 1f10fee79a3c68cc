// Loans at the DR site: a lender whose disk does not answer holds nobody but itself.

#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/receiver/receiver_loans.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr std::uint64_t size = 64 * block_bytes;
constexpr wire::key32 key{std::byte{7}};

std::byte content_of(std::uint64_t block) { return static_cast<std::byte>(block + 1); }

/// "gold" lends to "clone"; threads of gold's disk run only when the test lets them.
struct two_copies : session_host {
    test::sim_clock clock;
    asio::io_context io;
    asio::io_context gold_disk;
    sim_file_system files{1};
    std::shared_ptr<replica_group> gold = make("gold");
    std::shared_ptr<replica_group> clone = make("clone");
    loan_desk desk{{io.get_executor(), gold_disk.get_executor(), gold_disk.get_executor(),
                    gold_disk.get_executor(), &clock}};
    lending loans{
        *this,
        {io.get_executor(), io.get_executor(), io.get_executor(), io.get_executor(), &clock},
        clone,
        key};
    std::vector<wire::loan_reply> replies;
    std::vector<std::string> told;
    bool lends = true;
    bool over = false;

    two_copies() { asio::co_spawn(io, serve(), asio::detached); }
    virtual ~two_copies() {
        loans.end();
        answers();
        REQUIRE(over);
        asio::co_spawn(io, desk.join(), asio::detached);
        answers();
    }
    task<void> serve() {
        co_await loans.run([this](wire::loan_reply r) { return take(std::move(r)); });
        over = true;
    }
    task<result<>> take(wire::loan_reply r) {
        replies.push_back(std::move(r));
        co_return result<>{};
    }
    std::shared_ptr<replica_group> make(const std::string &name) {
        REQUIRE(files.make_directories("/" + name));
        const std::string image = "/" + name + "/image";
        auto made = files.open(image, open_mode::create_new);
        REQUIRE(made);
        REQUIRE((*made)->truncate(size));
        for (std::uint64_t b = 0; b < size / block_bytes; ++b) {
            REQUIRE((*made)->write_at(b * block_bytes, byte_vector(block_bytes, content_of(b))));
        }
        made->reset();
        replica_options o;
        o.state_directory = "/" + name + "/state";
        REQUIRE(files.make_directories(o.state_directory));
        REQUIRE(replica_group::create(files, o, {{"data", size, image}}));
        return std::shared_ptr<replica_group>(replica_group::open(files, o).value());
    }
    /// For four blocks, of which the second is another one at the sender.
    static wire::loan_request request(std::uint64_t id) {
        wire::loan_request r;
        r.id = id;
        r.interval = 9;
        r.lender = "gold";
        wire::loan_run run;
        run.block = 10;
        dedupe::digester digester(key);
        for (std::uint64_t b = 10; b < 14; ++b) {
            const auto d =
                digester.of(byte_vector(block_bytes, b == 11 ? std::byte{0xEE} : content_of(b)));
            run.digests.insert(run.digests.end(), d.bytes.begin(), d.bytes.end());
        }
        r.runs.push_back(std::move(run));
        return r;
    }
    void ready() { test::run_ready(io); }
    void answers() {
        do {
            gold_disk.restart();
            ready();
        } while (gold_disk.poll() > 0);
        ready();
    }

    // session_host
    result<> clock_heard(std::uint64_t) override { return {}; }
    void covered_heard(interval_id) override {}
    wall_time stamp() override { return clock.wall(); }
    void apply_soon() override {}
    void commit_soon() override {}
    void note_durable(interval_id) override {}
    void offered(const wire::role_offer &) override {}
    task<void> wait_applied(time_point) override { co_return; }
    std::string words_for_sender() const override { return ""; }
    void storage_failed(error) override {}
    void note_peer_fault(const error &) override {}
    void tell(log::level, const std::string &text, const std::string &) override {
        told.push_back(text);
    }
    const std::string &name() const override {
        static const std::string clone_name = "clone";
        return clone_name;
    }
    loan_offer lender(const std::string &group) override {
        return lends && group == "gold" ? loan_offer{gold, &desk} : loan_offer{};
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE_FIXTURE(two_copies, "lending: blocks that are equal are granted, others are not") {
        REQUIRE(loans.ask(request(1)));
        answers();
        REQUIRE(replies.size() == 1);
        CHECK(replies[0].id == 1);
        CHECK(replies[0].granted == byte_vector{std::byte{0b1101}});
        CHECK(replies[0].slots == clone->loan_slots());
        lends = false;
        REQUIRE(loans.ask(request(2)));
        answers();
        REQUIRE(replies.size() == 2);
        CHECK(replies[1].granted_blocks() == 0);
        CHECK(told.empty());
    }

    TEST_CASE_FIXTURE(two_copies, "lending: a lender's disk that does not answer is waited for so "
                                  "long, then the reply goes without it") {
        const time_point begun = clock.now();
        REQUIRE(loans.ask(request(1)));
        REQUIRE(loans.ask(request(2)));
        REQUIRE(test::run_until(
            io, clock, [&] { return replies.size() == 2; }, std::chrono::seconds(10)));
        CHECK(clock.now() - begun == loan_patience); // the second one does not wait again
        CHECK(replies[0].granted_blocks() == 0);
        CHECK(replies[1].id == 2);
        CHECK(replies[1].granted_blocks() == 0);
        REQUIRE(told.size() == 1);
        CHECK(told[0] == "nothing is lent by group gold: its disk does not answer");
        answers();
        CHECK(replies.size() == 2); // what comes late is nobody's
        REQUIRE(loans.ask(request(3)));
        answers();
        REQUIRE(replies.size() == 3);
        CHECK(replies[2].granted_blocks() == 3);
    }

    TEST_CASE_FIXTURE(two_copies,
                      "lending: a session that ends does not wait for a lender's disk") {
        REQUIRE(loans.ask(request(1)));
        ready();
        CHECK_FALSE(over);
        loans.end();
        ready();
        CHECK(over);
        CHECK(clone.use_count() == 1); // let go, so that it can be opened anew
    }

    TEST_CASE_FIXTURE(two_copies, "lending: requests without a reply are bounded") {
        std::size_t taken = 0;
        while (loans.ask(request(taken)) && taken < 1000) {
            ++taken;
        }
        CHECK(taken >= limits::interval_entries_max / limits::loan_blocks_max);
        CHECK(taken < 1000);
        const auto refused = loans.ask(request(0));
        REQUIRE_FALSE(refused);
        CHECK(refused.error().whose == fault::peer);
    }
}
} // namespace farshore
