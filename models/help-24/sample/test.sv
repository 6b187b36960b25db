16 : Returnerar endast namnet på katalogen.
Lägger till nästa tabell till den aktuella markeringen med tabeller. Om alla tabeller i ett kalkylblad har markerats, väljer det här kortkommandot bara nästa tabell. Gör nästa tabell till aktuell tabell.
Numrering i alfabetisk ordning med små bokstäver
Animerade objekt och 3D-objekt
Area sinus hyperbolicus
Blockera markeringsläge
Öppnar dialogrutan Visa kolumner.
Välj Redigera - Klistra in. Båda objekten tillhör nu samma grupp. Om du vill kan du redigera de enskilda objekten eller ändra deras position i gruppen.
Välj Visa - Normal när du är klar.
Klicka i datafältet
Klicka på Spela upp på verktygsraden Medieuppspelning.
Klicka på den datapunkt som du vill omvandla och gör något av följande:
Klicka på den här knappen om du vill spara ändringarna som standardinställningar för alla nya formler. Innan ändringarna sparas visas ett säkerhetsmeddelande.
Konfigurera LibreOffice, en fax-ikon
Skapar ett nytt dokument som kan redigeras.
Ctrl+Nedpil
Klipper ut det markerade objektet och lagrar det i urklipp. Objektet kan återinfogas från urklippet med Klistra in.
Datum variabel
Den här fliken innehåller följande alternativ, beroende på vilken typ av förteckning du väljer.
Visar den kommentar som hör till den aktiva cellen.
Visar hela sidan på skärmen.
Visar platshållartexten för det markerade fältet.
Dubbelklicka på "Högersida" i listan över sidformatmallar så att formatmallen används för den aktuella sidan.
Dra objektet till dokumentet eller öppna snabbmenyn genom att klicka med höger musknapp och välj Lägg till och Kopia.
Ange ett nytt startnummer för den aktuella nivån.
Mata in text eller grafik i sidhuvudet för formatmallen Vänstersida. Efter att nästa sida har lagts till i dokumentet matar du in text eller grafik i sidhuvudet för formatmallen Högersida.
Ange hur många färger som ska visas i den konverterade bilden. LibreOffice genererar en polygon för varje förekomst av en färg i bilden.
Skriv in den text som ska visas efter kapitelnumret. Du kan t.ex. skriva "." (punkt) om du vill visa "1.".
F2, Retur eller någon annan tangent som skapar ett tecken på skärmen.
Välj Exakt sökning för asiatiska språk om du vill använda flernivåskollation. Vid flernivåskollation jämförs posternas grundform först med kasus för de former och diakritiska tecken som ignorerats. Om formerna är lika jämförs formernas diakritiska tecken. Om formerna fortfarande är lika jämförs formernas kasus, teckenbredd och japanska kana-skillnader.
Hopp till slutet av dokumentet med markering
är större än eller lika med (sned)
Om en datapunkt inte har en motsvarande kontrollpunkt, markerar du datapunkten och klickar på ikonen Konvertera till kurva på verktygsraden Redigera punkter.
Om den aktuella cellen är tom: Hoppar till början av tabellen. Annars: Hoppar vid första tryckningen till början av den aktuella cellen, vid nästa tryckning till början av den aktuella tabellen, vid tredje tryckningen till början av dokumentet.
Om du inte vill ha ett sidhuvud eller en sidfot på dokumentets titelsida använder du formatet "Första sidan" för titelsidan.
Om du vill utvidga eller förminska färgvalsområdet, ökar eller minskar du toleransen för verktyget Pipett och upprepar valet.
I LibreOffice Calc kan du utföra beräkningar på datum och tid eftersom de hämtas från den interna klockan på datorn. Om du exempelvis vill ta reda på exakt hur gammal du är i sekunder eller timmar, gör du så här:
Infoga flytande ram
Infogningsläge på/av
Infogar en cosinusfunktion med en platshållare. Du kan också skriva cos(<?>) i fönstret Kommandon.
Infogar en arcus cosinus-symbol med en platshållare. Du kan också skriva arccos(<?>) i fönstret Kommandon.
Infogar en tabulator (endast i tabeller). Alt+Tabb kan användas i stället beroende på vilken fönsterhanterare som används.
Infogar ett bråktecken med en platshållare. Du kan också skriva fact <?>) direkt i fönstret Kommandon.
Med denna funktion infogar du den markerade bilden som bakgrundsbild. Med undermenyalternativen Sida och Stycke bestämmer du om grafikobjektet ska ligga i bakgrunden på hela sidan eller bara bakom det aktuella stycket.
I infogningsläget infogas nya tecken vid markörens position, och efterföljande text flyttas åt höger. Markören visas som ett lodrätt streck.
Markera diagrammet genom att klicka på det en gång. Diagrammet får åtta handtag.
Nyckeltyp 1 - 3
De olika funktionerna är:
Markera alla moduler som ska aktiveras för det här språket under rubrikerna Rättstavning, Avstavning och Synonymordlista.
Hopp till nästa tabellark.
Flyttar markören till Inmatningsraden där du kan skriva in en formel för den aktuella cellen.
Bildskärmssida uppåt med markering
Antal färger:
Klicka på nedpilen på fliksidan Verktygsrader och placera den nya ikonen där du vill ha den. Klicka på OK.
Öppnar en dialogruta som du kan använda för att redigera egenskaperna för ett fält. Klicka framför fältet och välj kommandot. I dialogrutan kan du använda pilknapparna för att gå till nästa eller föregående fält.
Öppnar dialogrutan Testa kontoinställningar där du kan testa de aktuella inställningarna.
Öppna textdokumentet som du vill kopiera diagrammet till.
Placera markören i cell A3 och formatera cellen som tal. För att göra det öppnar du snabbmenyn i cell A3 (tryck på högra musknappen) och väljer Formatera celler...
Visar hur den konverterade bilden ser ut med de alternativ du anger. Klicka på Förhandsvisning för att generera den vektoriserade bilden.
Skriva ut text och grafik i svartvitt
Gör visningen av det aktuella dokumentet större eller mindre. Klicka på pilen bredvid ikonen för att öppna verktygsraden Zooma.
Byt namn - öppnar en dialogruta där du matar in ett annat namn för bokmärket.
returnerar värdet 20.
Skannar en bild och infogar resultatet i dokumentet. Dialogrutan för skanning tillhandahålls av skannerns tillverkare. Mer information om dialogrutan finns i skannerns dokumentation.
Välj en ordlista i listan Användarordlista, och klicka sedan på Redigera.
Markera nästa ram
Klicka på fliken Beskrivning.
Markera den nivå/de nivåer du vill ange formateringsalternativ för. Den markerade nivån visas framhävd i förhandsgranskningen.
Markera den text du vill infoga från listan.
Ange konverteringsalternativ för bilden.
Kortkommandon för tabeller i LibreOffice Writer
Vissa ord innehåller specialtecken som LibreOffice behandlar som bindestreck. Om du inte vill att sådana ord ska avstavas kan du infoga en specialkod som förhindrar avstavning på den plats där specialkoden är infogad. Gör så här:
Anger om guiden ska startas automatiskt när en ny kontroll infogas. Denna inställning gäller för alla dokument.
Delmängd eller lika
Förankringssymbolen visas i vänster sidmarginal i början av stycket.
Följande kontroller i dialogrutan visas bara när du har markerat motsvarande typ av fält.
Dialogrutan Formatera celler visas. På fliken Tal är kategorin "Tal" redan markerad. Formatet är angett som "Allmänt", vilket innebär att en beräkning som innehåller datumposter visas som ett datum. Om du vill visa resultatet som ett tal ställer du in talformatet på "-1 234" och stänger dialogrutan genom att trycka på OK.
Den naturliga logaritmen är logaritmen med basen e. Talet e är en konstant med det approximativa värdet 2,71828...
De olika mängdoperationerna är:
Klockslag fast
Om du vill centrera en bild på en HTML-sida infogar du bilden, förankrar den "som tecken" och centrerar sedan stycket.
Om du vill skapa en matris där alla element innehåller den information som du anger på inmatningsraden trycker du på Skift+Ctrl+Retur. Det går inte att redigera elementen i matrisen.
Om du vill infoga kolumner i tabellkontrollen klickar du i kolumnhuvudena och öppnar snabbmenyn. På menyn finns följande kommandon:
Så här tar du bort en markering:
Om du vill markera flera tabeller i ett dokument håller du ned Ctrl samtidigt som du klickar på namnflikarna längst ned i arbetsområdet. Om du bara vill markera en tabell i en markering håller du ned Skift-tangenten samtidigt som du klickar på tabellens namnflik.
Om du vill uppdatera förteckningen högerklickar du i förteckningen och väljer Uppdatera förteckning.
Skriv numret på den post du vill visa och tryck på Retur.
Uppdaterar det markerade diagrammet.
Använd Sidformatmallar för att organisera strukturen i dokumentet och för att lägga till sidnummer. Du kan också ange vilket sidformat som ska användas på den första sidan efter en sidbrytning.
Använd den här symbolen om du vill infoga mängdoperatorn ingår i med två platshållare. Du kan också skriva <?> in <?> direkt i fönstret Kommandon.
Använd den här symbolen om du vill infoga en tom mängd. Skriv emptyset i fönstret Kommandon när du vill infoga en tom mängd i ett dokument.
Använd den här symbolen om du vill infoga mängdoperatorn är en grundmängd av och två platshållare. Du kan också skriva <?>supset<?> i fönstret Kommandon.
När du markerar en symbol visas kommandonamnet under symbollistan och en förstorad version visas i en ruta till höger. Observera att namnet måste skrivas exakt som det visas här (skiftlägeskänsligt) i Kommando-fönstret.
där (/) är divisionstecknet på det numeriska tangentbordet.
Du kan också dubbelklicka på ett fält i dokumentet för att öppna fältet för redigering.
Du kan beräkna logaritmen med en annan bas (n) för ett givet tal (x) genom att dividera den naturliga logaritmen för x med den naturliga logaritmen för n, enligt följande:
