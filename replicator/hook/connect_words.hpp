#pragma once
// The `connect` of applications whose libraries have no connection strings of their own:
// "socket=/run/mysqld/mysqld.sock user=farshore password='a b'". The form is libpq's: words
// KEY=VALUE, values with blanks in single quotes, a backslash before a quote or a backslash.

#include "replicator/base/error.hpp"

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace farshore::hook {

class connect_words {
  public:
    /// The error names the key that is not in `keys`, is there twice or has no value. No value is
    /// ever in a message: one of them is a password.
    static result<connect_words> parse(std::string_view text,
                                       std::initializer_list<std::string_view> keys);
    /// Empty: not there.
    std::string get(std::string_view key) const;
    /// 1 to 65535.
    result<int> port(int otherwise) const;
    /// `password`, or the first line of the file `password_file`.
    result<std::string> password() const;

  private:
    std::map<std::string, std::string, std::less<>> all_;
};

} // namespace farshore::hook
