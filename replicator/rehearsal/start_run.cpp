#include "replicator/rehearsal/start_run.hpp"

#include "replicator/rehearsal/script_runner.hpp"

namespace farshore::rehearsal {

start_outcome start_applications(const std::vector<start_step> &steps, const copy_facts &facts,
                                 int output, const std::function<void(const std::string &)> &say) {
    start_outcome out;
    script_plan plan;
    plan.steps = steps;
    plan.environment = environment_of(facts, own_environment());
    plan.directory = "/";
    const std::function<void(const std::string &)> tell = [&](const std::string &line) {
        constexpr std::string_view begins = "step ";
        constexpr std::string_view fails = "step_failed ";
        if (line.starts_with(begins)) {
            out.started.push_back(line.substr(begins.size()));
            say(out.started.back());
        } else if (line.starts_with(fails)) {
            const std::string rest = line.substr(fails.size());
            const auto blank = rest.find(' ');
            out.failed = rest.substr(0, blank);
            out.why = blank == std::string::npos ? "" : rest.substr(blank + 1);
            out.started.pop_back();
        }
    };
    script_runner(plan, output, tell).start_steps();
    return out;
}

} // namespace farshore::rehearsal
