#pragma once
// Text that somebody else wrote (a peer, a client, a certificate), made fit for a log line, a
// terminal and a status: whatever moves a cursor, breaks a line, turns text round or can't be seen
// becomes a visible escape, and it has an end.
//
// Rule: text from outside is cleaned where it is parsed (format/messages.cpp for the wire,
// nbd/negotiation.cpp for NBD clients, transport/identity.cpp for certificates), so that whoever
// holds a string may show it. log::write does it once more, for what somebody forgot.

#include <cstddef>
#include <string>
#include <string_view>

namespace farshore {

/// UTF-8 of at most `bytes_max` bytes, then "..." if something was cut off. Escapes: \n \r \t, \xHH
/// for other control characters below 256 and for bytes that are no UTF-8, \u{H...} for characters
/// that are not seen (line and paragraph separators, bidi controls, zero width, tags). Cleaning
/// twice is cleaning once.
std::string clean_text(std::string_view text, std::size_t bytes_max = 4096);

} // namespace farshore
