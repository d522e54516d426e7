// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/expression.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/nearest.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

// A recursive-descent evaluator: each function reads one level of precedence. Both sides of and/or are evaluated, so
// that a mistyped name is an error wherever it stands.
class Evaluator {
 public:
  Evaluator(std::string_view text, const std::map<std::string, json>& names, std::string_view where)
      : text_(text), names_(names), where_(where) {}

  json whole() {
    json value = either();
    space();
    if (at_ != text_.size()) fail("expected an operator or the end");
    return value;
  }

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw ConfigError(where_, fmt::format("{} at character {} of \"{}\"", message, at_ + 1, text_));
  }

  void space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }

  bool take(std::string_view token) {
    space();
    if (!text_.substr(at_).starts_with(token)) return false;
    const size_t end = at_ + token.size();
    const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
    if (is_word(token.front()) && end < text_.size() && is_word(text_[end])) return false;
    at_ = end;
    return true;
  }

  bool truth(const json& value) const {
    if (value.is_boolean()) return value.get<bool>();
    if (value.is_null()) return false;
    fail("expected true or false, found " + value.dump());
  }

  json either() {
    json value = both();
    while (take("or")) {
      const bool left = truth(value), right = truth(both());
      value = left || right;
    }
    return value;
  }

  json both() {
    json value = negated();
    while (take("and")) {
      const bool left = truth(value), right = truth(negated());
      value = left && right;
    }
    return value;
  }

  json negated() {
    if (depth_ > 100) fail("nested too deeply");
    if (!take("not")) return compared();
    ++depth_;
    const bool value = !truth(negated());
    --depth_;
    return value;
  }

  json compared() {
    const json left = sum();
    if (take("==")) return left == sum();
    if (take("!=")) return left != sum();
    if (take("in")) return is_in(left);
    for (const std::string_view token : {"<=", ">=", "<", ">"}) {
      if (take(token)) return ordered(left, sum(), token);
    }
    return left;
  }

  json is_in(const json& left) {
    if (!take("[")) fail("expected [");
    bool found = false;
    do {
      found = sum() == left || found;
    } while (take(","));
    if (!take("]")) fail("expected ]");
    return found;
  }

  bool ordered(const json& left, const json& right, std::string_view token) const {
    if (left.is_null() || right.is_null()) return false;
    const bool numbers = left.is_number() && right.is_number(), texts = left.is_string() && right.is_string();
    if (!numbers && !texts) fail(fmt::format("{} and {} have no order", left.dump(), right.dump()));
    if (token == "<") return left < right;
    if (token == "<=") return left <= right;
    return token == ">" ? left > right : left >= right;
  }

  json sum() {
    json value = product();
    while (true) {
      if (take("+")) value = arithmetic(value, product(), '+');
      else if (take("-")) value = arithmetic(value, product(), '-');
      else return value;
    }
  }

  json product() {
    json value = atom();
    while (true) {
      if (take("*")) value = arithmetic(value, atom(), '*');
      else if (take("/")) value = arithmetic(value, atom(), '/');
      else return value;
    }
  }

  json arithmetic(const json& left, const json& right, char operation) const {
    if (left.is_null() || right.is_null()) return nullptr;
    if (!left.is_number() || !right.is_number())
      fail(fmt::format("{} and {} are not numbers", left.dump(), right.dump()));
    const double a = left.get<double>(), b = right.get<double>();
    if (operation == '/' && b == 0.0) fail("division by zero");
    const double value = operation == '+' ? a + b : operation == '-' ? a - b : operation == '*' ? a * b : a / b;
    return value;
  }

  json atom() {
    space();
    if (at_ >= text_.size()) fail("expected a value");
    if (take("(")) {
      if (++depth_ > 100) fail("nested too deeply");
      json value = either();
      --depth_;
      if (!take(")")) fail("expected )");
      return value;
    }
    const char c = text_[at_];
    if (c == '\'' || c == '"') return quoted(c);
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-') return number();
    if (take("true")) return true;
    if (take("false")) return false;
    if (take("null")) return nullptr;
    return named();
  }

  json quoted(char quote) {
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("expected a closing quote");
    json value = std::string(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  json number() {
    double value = 0;
    const auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (code != std::errc()) fail("expected a number");
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }

  json named() {
    size_t end = at_;
    while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) != 0 || text_[end] == '_'))
      ++end;
    const std::string name(text_.substr(at_, end - at_));
    if (name.empty()) fail("expected a value");
    const auto found = names_.find(name);
    if (found == names_.end()) {
      std::vector<std::string> known;
      for (const auto& [other, value] : names_) known.push_back(other);
      fail(unknown_name_message("name", name, std::move(known)));
    }
    at_ = end;
    return found->second;
  }

  std::string_view text_;
  const std::map<std::string, json>& names_;
  std::string_view where_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

json evaluate_expression(std::string_view text, const std::map<std::string, json>& names, std::string_view where) {
  return Evaluator(text, names, where).whole();
}

}  // namespace vorta::harness
