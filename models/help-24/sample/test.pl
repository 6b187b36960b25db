16 : Zwraca tylko nazwę katalogu.
Dodaje następny arkusz do obecnie zaznaczonych. Jeśli wszystkie arkusze w dokumencie są zaznaczone, naciśnięcie tej kombinacji klawiszy skrótu powoduje tylko zaznaczenie następnego arkusza. Następny arkusz staje się bieżącym.
Numerowanie alfabetyczne z użyciem małych liter
Obiekty animowane i obiekty 3D
Area sinus hiperboliczny
Tryb zaznaczania bloku
Otwiera okno dialogowe Pokaż kolumny.
Wybierz Edycja - Wklej. Oba obiekty należą teraz do tej samej grupy. Można edytować pojedyncze obiekty oraz zmieniać ich położenie w grupie.
Kiedy skończysz wybierz Widok - Normalny.
Kliknij pole danych
Kliknij Odtwórz na pasku narzędzi Odtwarzanie multimediów.
Kliknij punkt węzłowy, którego typ chcesz zmienić a następnie wykonaj jedną z poniższych czynności:
Kliknięcie tego przycisku powoduje zapisanie zmian jako ustawienia domyślne wszystkich nowych formuł. Przed zapisaniem zmian zostanie wyświetlony komunikat zabezpieczeń.
Konfiguracja ikony faksu w pakiecie LibreOffice
Tworzy nowy dokument do edycji.
Ctrl+strzałka w dół
Wycina zaznaczony obiekt i umieszcza go w schowku. Wycięty obiekt można ponownie wstawić do dokumentu za pomocą polecenia Wklej.
Data jest zmienna
W zależności od wybranego rodzaju indeksu zakładka zawiera następujące opcje.
Wyświetla komentarz połączony z bieżącą komórką
Wyświetla na ekranie cały slajd.
Wyświetla tekst pola wypełnienia dla wybranego pola.
Kliknij dwukrotnie pozycję "Strona nieparzysta" na liście stylów strony, aby zastosować styl do bieżącej strony.
Przeciągnij obiekt do dokumentu lub prawym przyciskiem myszy wywołaj menu kontekstowe i wybierz Wstaw i Kopia.
Określa nowy numer początkowy dla bieżącego poziomu.
W główce dla stylu Strona parzysta wprowadź tekst lub grafikę. Po dodaniu następnej strony dokumentu wprowadź tekst lub grafikę do główki dla stylu Strona nieparzysta.
Wprowadź liczbę kolorów przekonwertowanego obrazka. Program LibreOffice generuje wielokąt dla każdego koloru pojawiającego się na obrazku.
Określa tekst wyświetlany po numerze rozdziału. Na przykład wprowadzenie kropki "(.)" powoduje wyświetlenie "1."
F2 lub Enter lub dowolny klawisz którego użycie powoduje wyświetlenie znaku na ekranie
Aby zastosować sortowanie wielopoziomowe dla języków azjatyckich, należy zaznaczyć pole wyboru Uwzględniaj wielkość liter. W sortowaniu wielopoziomowym porównanie obejmuje początkowo tylko podstawowe formy wpisów, podczas gdy wielkość znaków i znaki diakrytyczne są pomijane. Porównanie znaków diakrytycznych następuje, jeśli formy podstawowe są identyczne. W przypadku dalszego braku różnic między formami porównywana jest wielkość i szerokość znaków, a także różnice w japońskim systemie pisma kana.
Idź i zaznacz tekst do końca dokumentu
większe lub równe (pochylone)
Jeśli punkt węzłowy nie posiada punktów kontrolnych zaznacz go i kliknij na pasku Edycja punktów ikonę Konwertuj na krzywą.
Jeśli aktywna komórka jest pusta: powoduje przejście do początku tabeli. W przeciwnym wypadku: pierwsze naciśnięcie powoduje przejście na początek aktywnej komórki, drugie - na początek bieżącej tabeli, trzecie - na początek dokumentu.
Jeśli na stronie tytułowej główka lub stopka nie mają być wyświetlane, zastosuj dla niej styl "Pierwsza strona".
Jeżeli chcesz poszerzyć lub pomniejszyć wybrany obszar, zwiększ lub zmniejsz tolerancję w narzędziu Zamiana kolorów i ponownie zaznacz obszar.
Program LibreOffice Calc umożliwia przeprowadzanie obliczeń obejmujących bieżącą datę i godzinę. Jako przykład wykonaj poniższe czynności, aby obliczyć dokładny wiek w sekundach albo godzinach:
Wstaw ramkę przestawną
Włącz/wyłącz tryb wstawiania
Wstawia funkcję cosinus z jednym symbolem zastępczym. Można także wpisać cos(<?>) w oknie Polecenia.
Wstawia symbol funkcji arcus cosinus z jednym symbolem zastępczym. Można także wpisać arccos(<?>) w oknie Polecenia.
Wstawia znak tabulatora (tylko w tabelach). W zależności od menedżera okien użyj, Alt+Tabulator może być stosowany zamiast.
Wstawia znak silni z jednym symbolem zastępczym. Można także wpisać fact <?> bezpośrednio w oknie Polecenia.
Wstawia zaznaczony obraz jako grafikę tła. Użyj poleceń Strona lub Akapit z podmenu, aby określić, czy grafika ma pokrywać obszar całej strony, czy tylko bieżącego akapitu.
W trybie wstawiania nowy tekst jest wpisywany w pozycji kursora, a dalszy tekst jest przesuwany się w prawo. Kursor ma postać pionowej linii.
W arkuszu kalkulacyjnym kliknij w wykres. Pojawi się osiem uchwytów.
Typ klucza od 1 do 3
Lista funkcji
W celu aktywowania modułu dla danego języka zaznacz go (pojawi się krzyżyk po jego lewej stronie). Moduły są podzielone na grupy: Pisownia, Dzielenie wyrazów i Wyrazy bliskoznaczne.
Przesuwa o jeden arkusz w prawo.
Przenosi kursor do Wiersza wprowadzania, w którym możesz wpisać formułę dla aktywnej komórki.
Przejście o ekran w górę z zaznaczeniem
Liczba kolorów:
Na zakładce Paski narzędzi umieść nową ikonę w żądanym miejscu, klikając przycisk ze strzałką skierowaną w dół. Kliknij przycisk OK.
Otwiera pole dialogowe umożliwiające edycję właściwości pola. Kliknij przed polem, a następnie wybierz to polecenie. W oknie dialogowym można użyć klawiszy strzałek, aby przejść do poprzedniego lub następnego pola.
Otwiera okno dialogowe Sprawdź ustawienia konta, gdzie można przetestować bieżące ustawienia.
Otwórz dokument tekstowy do którego chcesz wstawić wykres.
Umieść kursor w komórce A3, kliknij prawym przyciskiem myszy, aby rozwinąć menu kontekstowe, a następnie wybierz polecenie Formatuj komórki.
Podgląd przekształconego obrazka. Aby wygenerować podgląd obrazka wektorowego kliknij Podgląd.
Czarno-białe drukowanie tekstu i obrazów
Powiększa lub pomniejsza widok bieżącego dokumentu. Aby otworzyć pasek narzędzi Powiększenie kliknij strzałkę obok ikony.
Zmień nazwę - otwiera okno dialogowe umożliwiające wprowadzenie innej nazwy zakładki.
zwraca wartość 20.
Skanuje obraz, a następnie wstawia do dokumentu rezultat skanowania. Okno dialogowe skanowania jest wyświetlane przez oprogramowanie dostarczone przez producenta skanera. Objaśnienia dotyczące tego okna dialogowego można znaleźć w dokumentacji skanera.
Z listy Słownik użytkownika wybierz słownik, a następnie kliknij przycisk Edycja.
Zaznacz następną ramkę
Wybierz zakładkę Opis.
Wybierz poziomy, dla których chcesz określić opcje formatowania. Zaznaczony poziom zostanie wyróżniony w podglądzie.
Wybierz z listy tekst, który chcesz wstawić.
Ustaw opcje konwersji dla obrazka.
Skróty klawiaturowe używane przy pracy z tabelami w LibreOffice Writer
Niektóre słowa zawierają znaki specjalne, które produkt LibreOffice traktuje jako myślnik. Jeśli takie słowa nie mają być dzielone, możesz wstawić specjalny kod, który zapobiegnie dzieleniu słowa w danym miejscu. Postępuj zgodnie z następującą procedurą:
Określa, czy w chwili wstawienia nowego formantu ma zostać automatycznie uruchomiony kreator. To jest ustawienie globalne dotyczące wszystkich dokumentów.
następuje po lub równe
Obok lewego marginesu strony na wysokości początku akapitu jest wyświetlana ikona kotwicy.
Następujące elementy dialogowe są widoczne tylko w przypadku, gdy wybrano odpowiadający im typ pola.
Zostanie wyświetlone okno dialogowe Format komórek. Na karcie Liczby kategoria "Liczba" będzie już podświetlona. Ustawienie formatu to "Ogólny", co powoduje, że wynik obliczeń obejmujących daty również będzie wyświetlany jako data. Aby wyświetlić wynik w postaci liczby, ustaw format na "-1,234" i zamknij okno dialogowe za pomocą przycisku OK.
Logarytm naturalny to logarytm o podstawie e. Podstawa e jest stałą o wartości w przybliżeniu 2,718282...
Szczegółowe informacje dotyczące operacji na zbiorach:
Godzina jest stała
Aby wyrównać do środka obraz na stronie HTML, należy wstawić obraz, zakotwiczyć go "Jako znak", a następnie wyrównać akapit do środka.
Aby utworzyć macierz, w której wszystkie komórki zawierają te same dane, jakie zostały wprowadzone w Wierszu wprowadzania, naciśnij klawisze Shift + Ctrl + Enter. Nie możesz edytować składowych macierzy.
Aby wstawić informacje o kolumnach do formantu tabeli, należy kliknąć nagłówki tych kolumn, aby wywołać menu kontekstowe. Menu zawiera następujące polecenia:
Aby usunąć wyróżnienie
Aby zaznaczyć wiele arkuszy w skoroszycie, naciśnij i przytrzymaj klawisz Ctrl, po czym w dolnej części obszaru roboczego kliknij nazwy zakładek. Aby zaznaczyć tylko jeden arkusz, naciśnij i przytrzymaj klawisz Shift, po czym kliknij nazwę zakładki arkusza.
Aby zaktualizować indeks, kliknij go prawym przyciskiem myszy, a następnie wybierz polecenie Aktualizuj indeks lub spis treści.
Wpisz numer rekordu, który chcesz wyświetlić, a następnie naciśnij przycisk Enter.
Aktualizuje zaznaczony arkusz.
Style strony służą do organizowania struktury dokumentu oraz dodawania numerów stron. Można także określić styl strony następującej po podziale stron.
Użyj tej ikony, aby wstawić operator zbioru należy do z dwoma symbolami zastępczymi. Można także wprowadzić polecenie <?> in <?> bezpośrednio w oknie Polecenia.
Użyj tej ikony, aby wstawić zbiór pusty. Wprowadź polecenie emptyset w oknie Polecenia, aby wstawić pusty zbiór w dokumencie.
Użyj tej ikony, aby wstawić operator zbioru jest nadzbiorem i dwa symbole zastępcze Można także wprowadzić polecenie <?> supset <?> w oknie Polecenia.
Po wybraniu symbolu nazwa jego polecenia zostaje wyświetlona pod listą symboli, a w polu po prawej stronie jest widoczna powiększona wersja. Nazwę w oknie Polecenia należy wpisać dokładnie tak, jak jest wyświetlana tutaj (rozróżniana jest wielkość liter).
gdzie (/) jest znakiem dzielenia na klawiaturze numerycznej
Można również kliknąć dwukrotnie wewnątrz pola w dokumencie, aby otworzyć je do edycji.
Istnieje możliwość obliczenia logarytmów o dowolnej podstawie (n) z dowolnej liczby (x) przez podzielenie logarytmu naturalnego z x przez logarytm naturalny z n, jak przedstawiono poniżej:
