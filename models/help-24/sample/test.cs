16 : Vrátí pouze název adresáře.
Přidá následující list k současnému výběru listů. Pokud jsou označeny všechny listy sešitu, tato klávesová zkratka vybere pouze následující list. Zároveň se zobrazí následující list.
Abecední číslování malými písmeny
Animované objekty a objekty 3D
Argument hyperbolického sinu
Blokový režim výběru
Otevře dialog Zobrazit sloupce.
Vyberte Úpravy - Vložit. Oba objekty jsou nyní součástí stejné skupiny. Pokud chcete, je možné upravovat jednotlivé objekty nebo měnit jejich pozici ve skupině.
Po skončení zvolte Zobrazit - Normální.
Klepněte na datové pole.
Na nástrojové liště Přehrávač médií klikněte na tlačítko Přehrát .
Klepněte na datový bod, který si přejete převést a proveďte jednu z následujících akcí:
Klepnutím na toto tlačítko uložíte změny jako výchozí pro všechny nové vzorce. Před uložením změn musíte potvrdit bezpečnostní dotaz.
Přizpůsobení ikony faxu v LibreOffice
Vytvoří nový dokument, který lze upravovat.
Ctrl+šipka dolů
Vyjme vybraný objekt a uloží jej do schránky. Objekt lze potom opět vložit pomocí příkazu Vložit.
Datum je proměnná
V závislosti na vybraném typu rejstříku tato karta obsahuje následující možnosti.
Zobrazí komentář připojený k aktuální buňce
Zobrazí na obrazovku celý snímek.
Zobrazuje zástupný text vybraného pole.
Pro použití stylu na aktuální stránku poklepejte v seznamu stylů stránky na „Pravá stránka“.
Přetáhněte objekt do dokumentu nebo otevřete klepnutím pravým tlačítkem místní nabídku a zvolte Vložit - Kopírovat.
Zadejte nové počáteční číslo pro aktuální úroveň.
Do záhlaví stylu stránky Levá stránka vložte text nebo obrázky. Po přidání další stránky do dokumentu vložte text nebo obrázky i do záhlaví stylu stránky Pravá stránka.
Zadejte výsledný počet barev převedeného obrázku. LibreOffice vytvoří pro každou barvu vlastní mnohoúhelník.
Zadejte text, který chcete zobrazit za číslem kapitoly. Např. zadejte tečku (.) pro zobrazení "1."
F2 nebo enter nebo libovolná znaková klávesa
Pro asijské jazyky zvolte Rozlišovat velikost pro použití víceúrovňového porovnávání. Ve víceúrovňovém porovnávání jsou výchozí tvary položek nejprve porovnány s výskyty tvarů bez diakritiky. Pokud jsou tvary shodné jsou porovnány s diakritikou. Pokud jsou tvary stále stejné je porovnána velikost, šířka znaků a japonské Kana.
Přejít na konec textu a označit text jako blok
větší nebo rovno (nakloněné)
Pokud datový bod nemá kontrolní bod, vyberte datový bod a klepněte na ikonu Převést na křivku na liště Upravit body.
Je-li aktuální buňka prázdná: Přemístit kurzor na začátek tabulky. Pokud prázdná není: Prvním stisknutím kombinace těchto kláves přemístíte kurzor na začátek aktuální buňky, druhým stisknutím jej přemístíte na začátek aktuální tabulky a po třetím stisknutí se kurzor přemístí na začátek dokumentu.
Pokud si nepřejete mít na titulní stránce vašeho dokumentu záhlaví nebo zápatí, použijte na tuto stránku styl stránky „První stránka“.
Pokud si přejete rozšířit nebo zúžit oblast výběru barvy, zvyšte či snižte toleranci nástroje Náhrada barev a zopakujte výběr.
V programu LibreOffice Calc lze provádět výpočty s datem a časovými údaji. Například ke zjištění vašeho stáří v sekundách nebo hodinách proveďte následující kroky:
Vložit plovoucí rámec
Režim vkládání zap/vyp
Vloží funkci kosinus s jedním zástupným znakem. Také můžete napsat cos(<?>) v okně Příkazy.
Vloží funkci arkus kosinus s jedním zástupným znakem. Také můžete napsat arccos(<?>) v okně Příkazy.
Vloží tabulátor (jen v tabulkách). V závislosti na správci oken, můžete použít také Alt+Tab.
Vloží symbol faktoriálu s jedním zástupným znakem. Také můžete napsat fact <?> v okně Příkazy.
Vloží vybraný obrázek jako obrázek na pozadí. Pomocí příkazů Stránka nebo Odstavec z podnabídky je možné určit, zda má obrázek pokrývat pozadí celé stránky nebo současného odstavce.
V režimu vkládání je nový text vložen do místa, kde se nachází kurzor, a následující text je posunut doprava. Kurzor je zobrazen jako svislá čára.
V sešitu klepněte na graf. Objeví se osm úchytů.
Druh klíče 1 až 3
Seznam funkcí
V částech Kontrola pravopisu, Dělení slov a Slovník synonym označte všechny moduly, které mají být aktivní pro tento jazyk.
Přepne na list vpravo.
Přesune kurzor do Vstupního řádku, kde je možné zadat vzorec pro současnou buňku.
Posunout náhled obrazovky nahoru a označit jako blok
Počet barev:
Na kartě Nástrojové lišty určete klepáním na tlačítka s šipkami umístění nové ikony. Klepněte na OK.
Otevře dialogové okno, kde můžete upravit vlastnosti pole. Klepněte myší před pole a poté vyberte tento příkaz. V dialogovém okně můžete použít tlačítka se šipkami pro pohyb mezi předcházejícím a následujícím polem.
Otevře dialog Otestovat nastavení, kde můžete ověřit aktuální nastavení.
Otevřete textový dokument, do kterého si přejete zkopírovat graf.
Umístěte kurzor do buňky A3, klepněte pravým tlačítkem myši a z místní nabídky vyberte Formát buněk.
Náhled převedeného obrázku. Vytvoříte ho klepnutím na Náhled.
Černobílý tisk textu a obrázků
Zmenší nebo zvětší zobrazení aktuálního dokumentu. Klepnutím na šipku vedle ikony otevřete nástrojovou lištu Přiblížení.
Přejmenovat - otevře dialogové okno, v němž je možné zadat jiný název záložky.
vrátí hodnotu 20.
Naskenuje obrázek a vloží výsledek do dokumentu. Dialog skenování závisí na výrobci skeneru. Vysvětlení dialogu najdete v dokumentaci ke skeneru.
V seznamu Uživatelem definované slovníky vyberte slovník a klepněte na tlačítko Upravit.
Vybrat další rám
Zvolte kartu Popis.
Vyberte úroveň, pro kterou chcete určit formátování. Vybraná úroveň se zvýrazní v náhledu.
Vyberte text, který chcete vložit ze seznamu.
Nastaví možnosti převodu obrázku.
Klávesové zkratky pro tabulky v programu LibreOffice Writer
Některá slova obsahují zvláštní znaky, které LibreOffice považuje za spojovník. Pokud taková slova nechcete rozdělit, vložte na pozici výše uvedeného znaku zvláštní kód, který zakáže dělení. Postupujte takto:
Určuje, zda se mají při vložení nového ovládacího prvku automaticky spouštět průvodci. Toto nastavení platí pro všechny dokumenty.
následuje nebo se rovná
Ikonka s kotvou se zobrazí v levém okraji stránky na začátku odstavce.
Následující dialogové prvky jsou viditelné pouze v případě, že je vybrán odpovídající typ pole.
Zobrazí se dialogové okno Formát buněk. Na kartě Čísla už bude zvýrazněná kategorie "Číslo". Formát je nastaven na "General", což vede k tomu, že výsledek výpočtu obsahujícího datum bude zobrazen jako datum. Abyste výsledek zobrazili jako číslo, nastavte formát čísla na "-1,234" a zavřete dialogové okno tlačítkem OK.
Přirozený logaritmus je logaritmus o základu e. "e" je konstanta s hodnotou přibližně 2,718282...
Podrobnosti o množinových operacích:
Čas (neměnný)
Pro zarovnání obrázku v HTML dokumentu na střed vložte obrázek, ukotvěte ho „jako znak“ a potom zarovnejte odstavec na střed.
Chcete-li vytvořit matici, ve které budou všechny buňky obsahovat stejnou informaci, jako jste zadali ve Vstupní řádce, stiskněte Shift+Ctrl+Enter. Není možné upravovat části matice.
Chcete-li pomocí ovládacího prvku tabulky vložit nový sloupec, klepněte na záhlaví sloupců a zobrazte místní nabídku. K dispozici máte následující příkazy:
Jak odstranit zvýraznění
Chcete-li vybrat více listů sešitu, podržte Ctrl a klepněte na karty s názvy v dolní části pracovní plochy. Chcete-li vybrat jen jeden list z výběru, podržte Shift a klepněte na kartu s názvem listu.
Rejstřík aktualizujete tím, že do něj klepněte pravým tlačítkem myši a zvolíte Aktualizovat rejstřík nebo obsah.
Zadejte číslo záznamu, který chcete zobrazit, a stiskněte klávesu Enter.
Aktualizuje vybraný graf.
Pomocí stylů stránky můžete organizovat strukturu dokumentu a přidávat čísla stránek. Také můžete určit styl, který se použije pro první stránku po zalomení.
Tato ikona vloží operátor je prvkem se dvěma zástupnými znaky. Také můžete napsat <?> in <?> v okně Příkazy.
Tato ikona vloží symbol prázdná množina. Také můžete napsat emptyset v okně Příkazy.
Tato ikona vloží operátor nadmnožina se dvěma zástupnými znaky. Také můžete napsat <?> supset <?> v okně Příkazy.
Když vyberete symbol, zobrazí se pod seznamem symbolů jeho název a v okně napravo se zobrazí jeho zvětšená verze. Poznámka: název musíte v okně Příkazy zadat přesně tak, jak se zobrazí (záleží na velikosti písmen).
kde (/) je klávesa dělení na numerické klávesnici
Pole lze otevřít pro úpravy také tím, že něj poklepete myší.
Logaritmus čísla x při libovolném základu n lze vypočítat tak, že následujícím způsobem vydělíte přirozený logaritmus čísla x přirozeným logaritmem čísla n:
