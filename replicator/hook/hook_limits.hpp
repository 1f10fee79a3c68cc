#pragma once
// The lengths and times of farshore-hook. A freeze stops an application, so all its times are
// short.

#include <chrono>
#include <cstddef>

namespace farshore::hook::limits {

constexpr std::size_t line_bytes_max = 16 * 1024; ///< of an answer
/// The largest group has 1,024 volumes: 1,000 bytes for each are left.
constexpr std::size_t request_bytes_max = 1024 * 1024;
constexpr std::size_t message_bytes_max = 512;
constexpr std::size_t facts_max = 16;
constexpr std::size_t fact_key_bytes_max = 64;
constexpr std::size_t fact_value_bytes_max = 512;
constexpr std::size_t words_max = 64;          ///< of a script's command
constexpr std::size_t volumes_max = 1024;      ///< as many as a group may have
constexpr std::size_t never_max = 256;         ///< paths that must not be frozen
constexpr std::size_t path_bytes_max = 4096;   ///< PATH_MAX
constexpr std::size_t name_bytes_max = 256;    ///< of a hook, a group, a bookmark
constexpr std::size_t reply_bytes_max = 65536; ///< one reply of a guest agent
constexpr std::size_t partitions_max = 128;    ///< looked at in one volume
constexpr int layers_max = 16; ///< device on device, file system on file: deeper is taken as a loop

constexpr std::chrono::milliseconds timeout_min{100};
constexpr std::chrono::milliseconds timeout_max{600'000};
/// For the first line. Nothing is frozen yet.
constexpr std::chrono::milliseconds request_patience{10'000};
/// From "let go" until the worker is killed and the guard releases by force. With the force it is
/// below the second that the contract promises.
constexpr std::chrono::milliseconds retreat_patience{400};
/// Likewise from the moment that a script's input closed: its release has begun, and a kill in the
/// middle of it helps nobody.
constexpr std::chrono::milliseconds script_retreat_patience{2'500};
/// What a script has of that before its process group is killed.
constexpr std::chrono::milliseconds script_close_patience{2'000};
/// For a script that is started again to release by force.
constexpr std::chrono::milliseconds script_force_patience{5'000};
/// For a release by force over a new connection.
constexpr std::chrono::milliseconds force_patience{3'000};
/// For a release without proof.
constexpr std::chrono::milliseconds let_go_patience{350};
/// A worker that was killed is dead after this, or it waits in the kernel.
constexpr std::chrono::milliseconds kill_settle{200};
/// Between two looks at something that tells nothing by itself.
constexpr std::chrono::milliseconds look_every{10};
/// The worker releases by itself this long after the time that the guard should have kept.
constexpr std::chrono::milliseconds own_clock_grace{250};
/// What a probe has to be let through when nothing is frozen.
constexpr std::chrono::milliseconds probe_patience{150};

} // namespace farshore::hook::limits
