16 : vrne samo ime mape.
K trenutni izbiri delovnih listov naslednji delovni list. Če so v preglednici izbrani vsi delovni listi, ta kombinacija tipk izbere le naslednji delovni list. Določi naslednji delovni list za trenutno izbranega.
Abecedno oštevilčevanje z malimi črkami
Animirani predmeti in 3D-predmeti
Inverzni hiperbolični sinus
Bločni izbirni način
Prikliče pogovorno okno Pokaži stolpce.
Izberite Uredi – Prilepi. Oba predmeta sta zdaj v isti skupini. Če želite, lahko urejate posamezen predmet ali spreminjate njegov položaj znotraj skupine.
Ko ste končali, izberite Pogled – Navadno.
Kliknite podatkovno polje
Kliknite Predvajaj v orodni vrstici Predvajanje večpredstavnostnih datotek.
Preverite podatkovno točko, ki jo želite pretvoriti, in naredite nekaj od naslednjega:
Kliknite ta gumb, da shranite spremembe kot svoje privzete nastavitve za v prihodnje. Preden se spremembe shranijo, se prikaže varnostno opozorilo.
Nastavitev LibreOffice ikone za faks
Ustvari nov dokument za urejanje.
Krmilka+smerna tipka navzdol
Izreže izbrani predmet in ga shrani na odložišču. Predmet lahko ponovno vstavite z odložišča z ukazom Prilepi.
Datum je spremenljiv
Ta zavihek vsebuje naslednje možnosti, odvisno pa je od vrste izbranega kazala.
Pokaže komentar, pripet trenutni celici.
Prikaže celotno prosojnico na zaslonu.
Prikaže ogrado besedila izbranega polja.
Na seznamu slogov strani dvakrat kliknite »Desno stran«, da uporabite slog v trenutni strani.
Povlecite predmet v dokument ali z desnim klikom na miško odprite kontekstni meni in izberite Vstavi in Kopiraj.
Za trenutno raven vnesi novo začetno številko.
V glavo vnesite besedilo ali grafiko za slog Leva stran. Ko se v dokument doda naslednja stran, v glavo vnesite besedilo ali grafiko za slog Desna stran.
Vnesite število prikazanih barv v pretvorjeni sliki. LibreOffice ustvari mnogokotnik za vsako pojavitev barve v sliki.
Vnesite besedilo, ki ga želite prikazati za številko poglavja. Npr. vnesite piko (.), da se prikaže »1.«.
F2 ali vnašalka ali poljubna druga tipka, ki na zaslonu ustvari znak
Za azijske jezike izberite Razlikuj velike in male črke, da uporabite več-ravensko zaporedje znakov, kjer se prvotne oblike vnosov najprej primerja z obliko ob prezrtih razločevalnih znakih. Če so oblike enake, se primerjajo še razločevalni znaki oblik. Če so oblike še vedno enake, se primerjajo oblike črk, tako kot tudi širina znakov in razlike v japonski pisavi kana.
Skoči in izbere besedilo do konca dokumenta
večje ali enako (nagnjeno)
Če podatkovna točka nima nadzorne točke, izberite podatkovno točko, nato kliknite ikono Pretvori v krivuljo v vrstici Uredi točke.
Če je aktivna celica prazna: pojdi na začetek tabele. Drugače: s prvim klikom pojdi na začetek aktivne celice, z drugim klikom pojdi na začetek trenutne tabele, s tretjim klikom pojdi na začetek dokumenta.
Če ne želite glave ali noge na naslovnici dokumenta, uporabite za naslovnico slog »Prva stran«.
Če želite razširiti ali zožiti območje izbora barv, povečajte ali zmanjšajte toleranco orodja Menjalnica barv in ponovite izbor.
V LibreOffice Calc lahko računate s trenutnimi datumskimi in časovnimi vrednostmi. Če bi npr. radi izvedeli svojo starost na sekundo ali uro natančno, sledite naslednjim korakom:
Vstavi plavajoči okvir
Vstavni način vključen/izključen
Vstavi funkcijo kosinus z eno ogrado. Vtipkate lahko tudi cos(<?>) v okno Ukazi.
Vstavi simbol za arkus kosinus z eno ogrado. Vtipkate lahko tudi arccos(<?>) v okno Ukazi.
Vstavi tabulatorski presledek (samo v tabelah). Glede na upravljalca oken, ki ga uporabljate, lahko namesto tega uporabite tipki izmenjalka+tabulatorka.
Vstavi znak za fakulteto z eno ogrado. Vtipkate lahko tudi fact <?> v okno Ukazi.
Vstavi izbrano sliko kot sliko ozadja. Uporabite podmenijska ukaza Stran ali Odstavek, s katerima določite, ali naj slika prekrije celo stran ali le trenutni odstavek.
V vstavnem načinu je novo besedilo vstavljeno ob poziciji kazalke in besedilo v nadaljevanju premaknjeno na desno. Kazalka je prikazana kot navpična črta.
V preglednici kliknite grafikon. Pojavi se osem kvadratkov.
Vrsta ključa od 1 do 3
Seznam funkcij
Označite vse module, ki naj se aktivirajo za ta jezik pod naslovi Črkovanje, Deljenje besed in Slovar sopomenk.
Povzroči premik k naslednjemu delovnemu listu na desni.
Premakne kazalec v vnosno vrstico, kjer lahko vnesete formulo za trenutno izbrano celico.
Premakne stran na zaslonu navzgor z izborom
Število barv:
Na zavihku Orodne vrstice kliknite puščico navzdol in novo ikono postavite na želeno mesto. Kliknite V redu.
Odpre pogovorno okno, kjer lahko urejate lastnosti polja. Kliknite pred poljem in nato izberite ta ukaz. V pogovornem oknu lahko uporabite gumbe s puščicami za premik na prejšnje ali naslednje polje.
Odpre pogovorno okno Preveri nastavitve računa, da preizkusi trenutne nastavitve.
Odprite dokument z besedilom, v katerega želite kopirati grafikon.
Kazalko postavite v celico A3, kliknite z desno miškino tipko, da odprete kontekstni meni, in izberite Oblikuj celice.
Predogled pretvorjene slike. Kliknite Predogled za tvorbo vektorske slike.
Črno-belo tiskanje besedila in slik
Pomanjša ali poveča zaslonski prikaz trenutnega dokumenta. Kliknite puščico poleg ikone in odpre se orodna vrstica Povečava.
Preimenuj – odpre pogovorno okno za vnos drugega imena za zaznamek.
vrne vrednost 20.
Optično prebere sliko in nato vstavi rezultat v dokument. Pogovorno okno za optično branje priskrbi proizvajalec optičnega bralnika. Za razlago pogovornega okna si pomagajte z dokumentacijo za vaš optični bralnik.
Izberite slovar na seznamu Uporabniško določeni slovarji in kliknite Uporabi.
Izberi naslednji okvir
Izberite zavihek Opis.
Izberite raven oziroma ravni, za katere želite določiti možnosti oblikovanja. V predogledu je izbrana raven poudarjena.
Iz seznama izberite besedilo, ki ga želite vstaviti.
Nastavite možnosti pretvorbe za sliko.
Tipke za bližnjice za tabele v LibreOffice Writerju
Nekatere besede vsebujejo posebne znake, ki jih LibreOffice obravnava kot vezaje. Če ne želite, da bi se tovrstne besede delile, lahko vstavite posebno kodo, ki prepreči deljenje na mestu, kjer je ta koda vstavljena. Postopajte takole:
S to ikono lahko nadzirate samodejni zagon čarovnika, ko vstavljate nov kontrolnik. Ta nastavitev velja za vse dokumente hkrati.
je naslednik ali enako kot
Zasidrana ikona se prikaže v zgornjem levem robu strani na začetku odstavka.
Naslednji elementi pogovornega okna so vidni samo takrat, ko je izbrana ustrezna vrsta polja.
Pojavi se pogovorno okno Oblikuj celice. Na zavihku Številke je kategorija »Število« že poudarjena. Oblika je nastavljena na »Splošno«, kar povzroči, da je rezultat računanja, ki vsebuje datumske vnose, prikazan kot datum. Če želite prikazati rezultat kot število, nastavite obliko števila na »-1,234« in zaprite pogovorno okno z gumbom V redu.
Naravni logaritem je logaritem z osnovo e. Osnova e je konstanta s približno vrednostjo 2,718282...
Operacije na množicah bolj podrobno:
Čas je fiksen
Če želite poravnati sliko na strani HTML na sredino, jo najprej vstavite, zasidrajte jo »kot znak« in nato poravnajte odstavek na sredino.
Če želite ustvariti območje matrike, v katerem vsebujejo vse celice iste informacije kot vnos v vnosni vrstici, pritisnite tipke dvigalka+krmilka+vnašalka. Komponent območja matrike ni mogoče spremeniti.
Če želite vstaviti stolpce v kontrolnik tabele, kliknite glave stolpcev in približajte kontekstni meni. Na voljo so sledeči ukazi:
Če želite odstraniti poudarjanje
Če želite hkrati urejati ali natisniti več tabel trenutno aktivnega dokumenta, jih sočasno označite, tako da držite pritisnjeno krmilko in kliknete zavihek tabele na spodnjem robu delovne površine. Za izbor le enega delovnega lista, držite pritisnjeno dvigalko in nato kliknite zavihek z imenom delovnega lista.
Če želite posodobiti kazalo, z desnim gumbom kliknite v kazalo in nato izberite Posodobi kazalo.
Vnesite številko zapisa, ki si ga želite ogledati, nato pritisnite vnašalko.
Posodobi izbrani grafikon.
Uporabite sloge strani za organizacijo zgradbe dokumenta in za dodajanje številk strani. Lahko določite tudi slog strani, ki je uporabljen na prvi strani po prelomu strani.
Uporabite ikono za vstavljanje operatorja je v z dvema ogradama. Vnesete lahko tudi <?> in <?> neposredno v okno Ukazi.
Uporabite to ikono, da vstavite prazno množico. Vnesite emptyset v okno Ukazi, če želite v svoj dokument vstaviti prazno množico.
Uporabite to ikono za vnos operatorja je nadmnožica in dve ogradi. Vtipkate lahko tudi <?>supset<?> v okno Ukazi.
Ko izberete simbol, se pod seznamom simbolov prikaže ime ukaza, simbol sam pa povečan v polju na desni. Upoštevajte, da morate ime v okno Ukazi vnesti natanko tako, kot je prikazano na tem mestu (razlikovanje med velikimi in malimi črkami).
(*) je znak za deljenje na numeričnem delu tipkovnice
Tudi z dvojnim klikom polja v dokumentu lahko polje odprete za urejanje.
Logaritme s poljubno osnovo (n) lahko izračunavate za katerokoli število (x) tako, da naravni logaritem x delite z naravnim logaritmom n, kot sledi:
