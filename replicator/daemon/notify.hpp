#pragma once
// Tells the service manager how the daemon does (the protocol of sd_notify: datagrams to
// $NOTIFY_SOCKET). Without that variable nothing happens.

#include <string>

namespace farshore {

/// Sends `state`, such as "READY=1" or "STATUS=...". Never blocks, failures are ignored: the
/// service manager's absence is no reason to stop.
void notify_service_manager(const std::string &state);

} // namespace farshore
