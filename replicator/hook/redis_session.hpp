#pragma once
// One session of Redis (hiredis), without a wait of its own: all of them are the tether's.

#include "replicator/base/error.hpp"
#include "replicator/hook/connect_words.hpp"
#include "replicator/hook/tether.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

struct redisContext;

namespace farshore::hook {

class redis_session {
  public:
    using words = std::vector<std::string>;

    /// The words of `connect` of this type.
    static result<connect_words> words_of(const std::string &connect);
    /// Connects and authenticates.
    static result<redis_session> open(const connect_words &words, const tether &t);

    /// Sends a command, and waits for its reply: its text, or its texts. Errors: the server's
    /// words.
    result<words> command(const tether &t, const words &command);
    /// The two halves of command().
    result<> send(const tether &t, const words &command);
    result<words> reply(const tether &t);
    /// A reply or the end of the connection is there, or comes within `most`.
    result<bool> stirs(const tether &t, std::chrono::milliseconds most);
    /// Fields of INFO.
    result<std::map<std::string, std::string>> info(const tether &t, const std::string &section);
    /// One setting; empty when there is none.
    result<std::string> setting(const tether &t, const std::string &name);

  private:
    struct closer {
        void operator()(redisContext *connection) const;
    };
    std::unique_ptr<redisContext, closer> connection_;
};

/// "a:1\r\n# b\r\nc:2\r\n" as INFO has it.
std::map<std::string, std::string> info_fields(const std::string &text);

} // namespace farshore::hook
