"""Short tables in many languages and encodings, without a byte order mark."""

# ruff: noqa: RUF001, S311 - letters of many scripts are the point; the choice of rows is no secret

from __future__ import annotations

import random

import pytest

from gristmill.base.errors import Error
from gristmill.tables import read_table, sniff
from gristmill.tables.encodings import detect

PLACES = {
    "Russian": ("Москва,Новосибирск,ул. Ленина,проспект Мира,ООО Ромашка,Казань", "cp1251 koi8-r cp866 iso8859-5"),
    "Ukrainian": ("Київ,Харків,вул. Шевченка,Львів,Запоріжжя,Івано-Франківськ", "cp1251 koi8-u"),
    "Greek": ("Αθήνα,Θεσσαλονίκη,Πάτρα,οδός Ερμού,Λάρισα,Μαρία Νικολάου", "cp1253 iso8859-7"),
    "Turkish": ("İstanbul,İzmir,Şişli,Beyoğlu,Eskişehir,Diyarbakır,Çankaya,Üsküdar", "cp1254"),
    "Polish": ("Łódź,Kraków,Gdańsk,Częstochowa,Białystok,ul. Świętokrzyska,Rzeszów", "cp1250 iso8859-2 cp852"),
    "Czech": ("Plzeň,Ústí nad Labem,Příbram,náměstí Míru,Černý Jiří,Třebíč", "cp1250 cp852"),
    "Hungarian": ("Győr,Székesfehérvár,Hódmezővásárhely,Fő tér,Szabó Gergő,Tűzoltó utca", "cp1250 cp852"),
    "German": ("München,Köln,Nürnberg,Hauptstraße,Jürgen Schäfer,Göttingen", "cp1252 mac_roman cp850 iso8859-15"),
    "French": ("Besançon,Saint-Étienne,Nîmes,rue de la République,Hélène Lefèvre", "cp1252 mac_roman cp850"),
    "Spanish": ("Málaga,Córdoba,A Coruña,Logroño,calle José Ortega,peluquería", "cp1252 mac_roman cp850"),
    "Portuguese": ("São Paulo,Goiânia,Florianópolis,Praça da Sé,João Gonçalves", "cp1252 mac_roman cp850"),
    "Swedish": ("Göteborg,Malmö,Västerås,Örebro,Åkersberga,Jönköping", "cp1252 cp850"),
    "Danish": ("København,Ærøskøbing,Helsingør,Nørregade,Sønderborg,Åbenrå", "cp1252 cp850"),
    "Icelandic": ("Reykjavík,Kópavogur,Hafnarfjörður,Garðabær,Þorlákshöfn,Ísafjörður", "cp1252"),
    "Latvian": ("Rīga,Jūrmala,Liepāja,Rēzekne,Jēkabpils,Brīvības iela", "cp1257"),
    "Hebrew": ("תל אביב,ירושלים,חיפה,רחוב הרצל,באר שבע,דוד כהן", "cp1255"),
    "Arabic": ("القاهرة,الرياض,بغداد,شارع الملك فهد,الإسكندرية,فاطمة علي", "cp1256 iso8859-6"),
    "Thai": ("กรุงเทพมหานคร,เชียงใหม่,ภูเก็ต,ถนนสุขุมวิท,ขอนแก่น", "cp874"),
    "Japanese": ("東京都千代田区,大阪市北区,株式会社サンプル,カタカナ商店,山田太郎", "cp932 euc_jp iso2022_jp"),
    "Chinese": ("北京市朝阳区,上海市浦东新区,广州市天河区,有限公司,人民路,王小明", "gb18030 utf-16-le utf-16-be"),
    "Taiwanese": ("台北市信義區,高雄市,新北市板橋區,股份有限公司,中山路,花蓮縣", "cp950 utf-16-le utf-16-be"),
    "Korean": ("서울특별시 강남구,부산광역시,대구광역시,주식회사 예제,김철수", "cp949 utf-16-le"),
}
CASES = [(language, name) for language, (_, names) in PLACES.items() for name in names.split()]


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_a_short_table_is_read_in_its_encoding(language: str, encoding: str) -> None:
    places = PLACES[language][0].split(",")
    for seed in range(5):
        chosen = random.Random(seed)
        rows = [[str(n), chosen.choice(places), chosen.choice(places)] for n in range(1, 7)]
        text = "id,name,city\r\n" + "".join(",".join(row) + "\r\n" for row in rows)
        data = text.encode(encoding)
        found = detect(data, is_whole=True).encoding
        assert data.decode(found) == text, found
        table = read_table(data)
        assert [table.header, *table.records()] == [["id", "name", "city"], *rows]


@pytest.mark.parametrize("encoding", ["mac_roman", "mac_cyrillic"])
def test_line_ends_of_old_macs_speak_for_their_encodings(encoding: str) -> None:
    word = "Москва" if encoding == "mac_cyrillic" else "Côte d’Azur"
    text = f"id,name\r1,{word}\r2,{word}\r"
    assert text.encode(encoding).decode(detect(text.encode(encoding), is_whole=True).encoding) == text


@pytest.mark.parametrize("separator", ["\x01", "\x1f", "\x02"])
def test_a_control_character_may_separate_cells(separator: str) -> None:
    rows = [["id", "name", "city"], *([str(n), "", "Bonn"] for n in range(30))]
    table = read_table("".join(separator.join(row) + "\n" for row in rows).encode())
    assert table.dialect.delimiter == separator
    assert [table.header, *table.records()] == rows


def test_bytes_of_all_kinds_are_no_text() -> None:
    data = random.Random(1).randbytes(5_000)
    with pytest.raises(Error):
        sniff(data)
