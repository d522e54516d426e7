// SPDX-License-Identifier: Apache-2.0
#include "engine/text/code_pages.h"

#include <array>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr std::u16string_view kLatin1 =
    u"\u0080\u0081\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0089\u008A\u008B\u008C\u008D\u008E\u008F\u0090\u0091"
    u"\u0092\u0093\u0094\u0095\u0096\u0097\u0098\u0099\u009A\u009B\u009C\u009D\u009E\u009F\u00A0¡¢£¤¥¦§¨©ª«¬\u00AD®¯"
    u"°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";
constexpr std::u16string_view kWindows1252 =
    u"€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008DŽ\u008F\u0090‘’“”•–—˜™š›œ\u009DžŸ\u00A0¡¢£¤¥¦§¨©ª«¬\u00AD®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈ"
    u"ÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";
constexpr std::u16string_view kWindows1251 =
    u"ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u0098™љ›њќћџ\u00A0ЎўЈ¤Ґ¦§Ё©Є«¬\u00AD®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬ"
    u"ЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя";
constexpr std::u16string_view kWindows1250 =
    u"€\u0081‚\u0083„…†‡\u0088‰Š‹ŚŤŽŹ\u0090‘’“”•–—\u0098™š›śťžź\u00A0ˇ˘Ł¤Ą¦§¨©Ş«¬\u00AD®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČ"
    u"ÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
constexpr std::u16string_view kWindows1253 =
    u"€\u0081‚ƒ„…†‡\u0088‰\u008A‹\u008C\u008D\u008E\u008F\u0090‘’“”•–—\u0098™\u009A›\u009C\u009D\u009E\u009F\u00A0"
    u"΅Ά£¤¥¦§¨©ª«¬\u00AD®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ";
constexpr std::u16string_view kWindows1254 =
    u"€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008D\u008E\u008F\u0090‘’“”•–—˜™š›œ\u009D\u009EŸ\u00A0¡¢£¤¥¦§¨©ª«¬\u00AD®¯°±²³´µ¶·¸¹º»¼½¾"
    u"¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ";
constexpr std::u16string_view kWindows1257 =
    u"€\u0081‚\u0083„…†‡\u0088‰\u008A‹\u008C¨ˇ¸\u0090‘’“”•–—\u0098™\u009A›\u009C¯˛\u009F\u00A0¡¢£¤¥¦§Ø©Ŗ«¬\u00AD®Æ"
    u"°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙";
constexpr std::u16string_view kIso8859_2 =
    u"\u0080\u0081\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0089\u008A\u008B\u008C\u008D\u008E\u008F\u0090\u0091"
    u"\u0092\u0093\u0094\u0095\u0096\u0097\u0098\u0099\u009A\u009B\u009C\u009D\u009E\u009F\u00A0Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u00AD"
    u"ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
constexpr std::u16string_view kMacRoman =
    u"ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u00A0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊ"
    u"ÁËÈÍÎÏÌÓÔ\uF8FFÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";
constexpr std::u16string_view kCp437 =
    u"ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ"
    u"∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00A0";

constexpr std::array kPages{
    CodePage{"latin-1", kLatin1, false},          CodePage{"windows-1252", kWindows1252, true},
    CodePage{"windows-1251", kWindows1251, true}, CodePage{"windows-1250", kWindows1250, true},
    CodePage{"windows-1253", kWindows1253, true}, CodePage{"windows-1254", kWindows1254, true},
    CodePage{"windows-1257", kWindows1257, true}, CodePage{"iso-8859-2", kIso8859_2, false},
    CodePage{"macroman", kMacRoman, false},       CodePage{"cp437", kCp437, false},
};
constexpr std::size_t kUpperBytes = 128;

constexpr bool all_complete() {
  for (const CodePage& page : kPages) {
    if (page.upper.size() != kUpperBytes) return false;
  }
  return true;
}
static_assert(all_complete());

constexpr char32_t kReplacement = 0xFFFD;

std::optional<char> byte_of(char32_t point, const CodePage& page) {
  if (page.is_windows && point == kReplacement) return kLostByte;
  if (page.is_windows && point == static_cast<unsigned char>(kLostByte)) return std::nullopt;
  if (point < kUpperBytes) return static_cast<char>(point);
  if (point > 0xFFFF) return std::nullopt;
  const std::size_t index = page.upper.find(static_cast<char16_t>(point));
  if (index == std::u16string_view::npos) return std::nullopt;
  return static_cast<char>(kUpperBytes + index);
}

}  // namespace

std::span<const CodePage> code_pages() { return kPages; }
const CodePage& windows_1252() { return kPages[1]; }
const CodePage& mac_roman() { return kPages[8]; }

std::optional<std::string> encode(std::u32string_view text, const CodePage& page) {
  std::string bytes;
  for (char32_t point : text) {
    const auto byte = byte_of(point, page);
    if (!byte) return std::nullopt;
    bytes += *byte;
  }
  return bytes;
}

char32_t upper_character(const CodePage& page, unsigned char byte) {
  VORTA_CHECK(byte >= kUpperBytes, "expected a byte 80..FF");
  return page.upper[byte - kUpperBytes];
}

}  // namespace vorta::engine
