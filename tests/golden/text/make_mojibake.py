#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes mojibake.json: [text, cleaned] pairs of garbled text ("repaired"), and text that must not change ("unchanged").

With ftfy 6.3.1 and regex; no other package. Everything is written out or drawn from the seed: make_mojibake.py [FILE]
"""
import html
import json
import pathlib
import random
import sys

import ftfy
import ftfy.bad_codecs  # noqa: F401  registers the sloppy codecs
import regex

PAGES = ["latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253",
         "sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437"]

# No quotes, ligatures or wide forms: those are changed by other steps of the cleaning.
SENTENCES = [
    "A red circle bounces over a white table.", "Ein süßer Bär fährt über die Straße.",
    "Où est le garçon à la forêt près du château ?", "El niño corrió hacia la montaña, ¿quién lo vio?",
    "O coração às vezes dói, não é?", "Žluťoučký kůň úpěl ďábelské ódy.", "Zażółć gęślą jaźń w Łodzi.",
    "Árvíztűrő tükörfúrógép.", "İstanbul'da güneşli bir gün, çocuklar koşuyor.", "Rīgā ķēniņš ēd žāvētas zivis.",
    "Ąžuolas šlama, o ūkininkas ėjo į kaimą.", "Blåbærsyltetøy på øya i ærlighet.", "Þetta er ágætt, sagði Ólöf.",
    "Красный круг прыгает по столу.", "Їжак і ґава живуть у лісі.", "Ο κόκκινος κύκλος αναπηδά.",
    "Ένα άλογο τρέχει στη θάλασσα.", "عيد سعيد والكرة حمراء", "כדור אדום קופץ", "लाल गेंद उछलती है", "แมวสีแดงวิ่ง",
    "红色的圆在桌子上跳动", "赤い円が跳ねる", "빨간 공이 튄다", "Quả bóng đỏ nảy trên bàn.", "წითელი ბურთი ხტება",
    "Կարմիր գնդակ", "ቀይ ኳስ", "A rocket 🚀 lifts off, 100 % real 😀", "5 × 3 m² at 20 °C costs £3 or 4 €…",
    "naïve café — déjà vu", "§ 12 ¶ 3 © ACME ® 2024", "½ cup, ¼ spoon, 3³ ± 2", "→ left ← right ♥ ★", "(╯°□°)╯ ┻━┻",
    "x ≤ y ≠ z ∑ √2 ∞", "Æon, œuvre, Œuvre", "Ångström Å and  voilà", "NAÏVE CAFÉ À LA CRÈME", "ÀÉÎÕÜ ãéîõü",
    "M. Renée ¡hola! «bonjour»", "Ÿ ŵ ŷ ǽ ɐ ə ʃ ŋ", "¯_(ツ)_/¯", "ÒwÓ ÙwÚ", "30° north, 45°30′ east",
]
ALTERED = [
    "voilÃ le travail", "Ã\xa0 la carte, Ã  demain", "Ã quele e Ã s vezes", "cafÃ© and cafÃ\ufffd",
    "â€œquotedâ€\ufffd and â€\x9d", "â€¦ and â€“ or â€” then â€™s", "l’Ã©tÃ© â l'eau",
    "\x93quoted\x94 in Latin-1\x85", "caf\xe9 \x96 bar", "\x81\x8d\x8f", "Ã\x82Â© 2024 Ã‚Â©",
    "&Atilde;&copy; and &amp;Atilde;&amp;copy;", "ГўВЂВ™s", "ð\x9f\x98\x80 ðŸ˜€ ðŸ š€", "í\xa0½í¸\x80 cesu",
    "Ã¢â‚¬Å“tripleÃ¢â‚¬\x9d", "√©t√© et d√©j√† vu ‚Äî oui", "ΓÇ£bonjourΓÇ¥", "РљСЂР°СЃРЅС‹Р№ РєСЂСѓРі",
    "пїЅ and ï»¿BOM", "a Â b", "Â£5 and Â£ 6", "100Â°C is 212 Â°F", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚, world", "ØµØ¨Ø§Ø­ Ø§Ù„Ø®ÙŠØ±",
    "à¤²à¤¾à¤²", "Ã", "Â ", "Ã ", "Â", "æ—¥æœ¬èªž", "ê°€ë‚˜", "Å and Ö are words", "Ç‚ÇŽ", "ï¿½", "Ã€ propos",
    "ÃƒÂ©tÃƒÂ©", "schÃ¶n & gro\xdf", "\x1aÃ©", "Ã?t Ã©",
]


def clean(text):
    """What diffusers' Wan pipeline does to a prompt."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip()


def misread(text, page):
    return text.encode("utf-8").decode(page)


def garbled(rng):
    for index, sentence in enumerate(SENTENCES):
        for page in rng.sample(PAGES, 3):
            yield misread(sentence, page)
        once = misread(sentence, "sloppy-windows-1252")
        if index % 3 == 0:
            yield misread(once, "sloppy-windows-1252")
        if "\xa0" in once:
            yield once.replace("\xa0", " ")
        words = sentence.split(" ")
        chosen = rng.randrange(len(words))
        words[chosen] = misread(words[chosen], rng.choice(PAGES[:8]))
        yield " ".join(words) + " " + SENTENCES[index - 1]


def random_strings(rng, count):
    """Characters that the pages share with mojibake, in no order: mostly not repaired, and never to be broken."""
    upper = [bytes([b]).decode(page) for page in PAGES for b in range(0x80, 0x100)] + list(" abcXYZ?\ufffd\x1a") * 20
    for _ in range(count):
        yield "".join(rng.choice(upper) for _ in range(rng.randrange(2, 9)))


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "mojibake.json")
    rng = random.Random(5)
    repaired = list(dict.fromkeys(ALTERED + list(garbled(rng)) + list(random_strings(rng, 120))))
    unchanged = [s for s in SENTENCES if clean(s) == s]
    fixture = {"repaired": [[text, clean(text)] for text in repaired], "unchanged": unchanged}
    out.write_text(json.dumps(fixture, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
